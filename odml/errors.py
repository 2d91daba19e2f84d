"""What a user can fix, as exceptions.

    OdmlError                   the base: its message is one line that names where, what is wrong, what to do
      AnnotationError           an annotation file or a picture's boxes cannot be used as they stand
      ImageError                bytes or a file that are no picture odml can read
      RecordError               prepared records, their label map or their dataset.yml are missing or damaged
      ConfigurationError        a model's configuration or a parameter has a value that is not allowed
      WeightsError              initial weights that are missing or do not fit the network
      TrainingError             a training that cannot go on
      CheckpointError           a training checkpoint that is missing, incomplete or of another network
      ExportError               an export folder that is missing, incomplete or differs from its checkpoint
      TrackingError             an MLflow run, artifact or model that cannot be found or used
      DownloadError             a file that cannot be downloaded, or is not the one that was published
      OutputError               a result that cannot be written

Entry points turn an OdmlError into its message and exit code 1. Wrong calls of the library raise ValueError.
``first_line`` quotes the errors of other libraries.
"""


class OdmlError(Exception):
    """Something the user can fix; the message says where, what is wrong and what to do."""


class AnnotationError(OdmlError):
    """An annotation file or a box in it cannot be used as it stands."""


class ImageError(OdmlError):
    """Bytes or a file do not hold a picture that odml can read."""


class RecordError(OdmlError):
    """Prepared records, their label map or their dataset.yml are missing or damaged."""


class ConfigurationError(OdmlError):
    """A model's configuration or an operation's parameter has a value that is not allowed."""


class WeightsError(OdmlError):
    """Initial weights are missing or do not fit the network."""


class TrainingError(OdmlError):
    """A training cannot go on: its loss is no number any more."""


class CheckpointError(OdmlError):
    """A training checkpoint is missing, incomplete or belongs to another network."""


class ExportError(OdmlError):
    """An export folder is missing, incomplete or does not give what its checkpoint gives."""


class TrackingError(OdmlError):
    """An MLflow run, artifact or model cannot be found or used."""


class DownloadError(OdmlError):
    """A file cannot be downloaded, or is not the one that was published."""


class OutputError(OdmlError):
    """A result cannot be written: the disk is full, or the folder may not be changed."""


def first_line(error: BaseException) -> str:
    """Give the first line of what a library's error says, to be quoted in a message of one line; its type if nothing.

    A colon at its end, which announces lines that are not quoted, is left out.
    """
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__
