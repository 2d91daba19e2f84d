from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from tests.quadrants import LABEL_MAP
from tests.test_serving import GREEN_PICTURE, RED_PICTURE

pytest.importorskip("pyspark")


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
        # The workers import the model's own copy of odml, and MLflow from here.
        monkeypatch.delenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", raising=False)
        builder = SparkSession.builder.master("local[1]").config("spark.driver.host", "127.0.0.1")
        session = builder.config("spark.ui.enabled", "false").getOrCreate()
        yield session
        session.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_model_detects_in_a_table_of_spark(spark, graph, tracking_store, tmp_path):
    import mlflow
    from pyspark.sql.functions import col, struct

    from odml.detector import Detector
    from odml.images import read_image
    from odml.serving import save_detector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_detector(graph, tmp_path / "model", classes=LABEL_MAP.names)
        params = {"score_threshold": 0.1, "errors": "row"}
        detect = mlflow.pyfunc.spark_udf(spark, str(tmp_path / "model"), env_manager="local", params=params)
    pictures = [RED_PICTURE, GREEN_PICTURE] * 40
    table = spark.createDataFrame([(bytearray(each),) for each in [*pictures, b"no picture"]], ["image"])
    rows = table.select(detect(struct("image")).alias("found")).select("found.*").collect()
    expected = Detector.load(Path(graph)).detect(map(read_image, pictures), score_threshold=0.1)
    assert [row["class_ids"] for row in rows[:-1]] == [each.classes.tolist() for each in expected]
    assert [row["boxes"] for row in rows[:-1]] == [each.boxes.tolist() for each in expected]
    assert {row["error"] for row in rows[:-1]} == {""}
    assert "its content is of no known format" in rows[-1]["error"]
    (row,) = table.limit(1).select(detect(col("image")).alias("found")).select("found.labels").collect()
    assert row["labels"][0] == "red"
