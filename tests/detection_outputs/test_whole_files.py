import json

import pytest

from odml.detection_outputs.whole_files import JSONRows, WholeFile, write_whole


def test_file_is_written_whole_and_an_earlier_one_replaced(tmp_path):
    for content in (b"one", b"two"):
        write_whole(tmp_path / "a" / "b.txt", content)
        assert (tmp_path / "a" / "b.txt").read_bytes() == content
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_what_cannot_be_moved_to_its_place_leaves_nothing(tmp_path):
    (tmp_path / "b.txt" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match=r"b\.txt"):
        write_whole(tmp_path / "b.txt", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


def test_growing_file_appears_when_it_is_closed_and_its_lines_are_safe_before(tmp_path):
    (tmp_path / "a.txt").write_text("earlier")
    file = WholeFile(tmp_path / "a.txt")
    file.write("one\ntw")
    assert (tmp_path / "a.txt.part").read_text().startswith("one\n")
    assert (tmp_path / "a.txt").read_text() == "earlier"
    file.write("o\n")
    file.close()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "one\ntwo\n")]


@pytest.mark.parametrize("entries", [[], [1], [{"a": "é"}, None, "x"]])
def test_list_in_json_has_an_entry_a_line(entries, tmp_path):
    file = WholeFile(tmp_path / "a.json")
    rows = JSONRows(file)
    for entry in entries:
        rows.add(entry)
    rows.end()
    file.close()
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == entries
    assert len(text.splitlines()) == (len(entries) + 2 if entries else 1)
