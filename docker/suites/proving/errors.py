"""The text of an exception for a report."""

import traceback


def describe(error: BaseException) -> str:
    """Type and message. An assertion without a message is named by its line of source."""
    try:
        said = str(error)
    except Exception as other:
        # The package's own class, made from values that it did not expect.
        said = f"its message cannot be read because of {type(other).__name__}"
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if not said and isinstance(error, AssertionError):
        # The source is read in this case only, because reading it can fail: a package may have replaced `linecache`.
        for frame in traceback.extract_tb(error.__traceback__)[-1:]:
            text += f": {frame.line} ({frame.filename}, line {frame.lineno})"
    return text[:2000]


def is_fault(error: BaseException) -> bool:
    """Whether an exception is a fault of native code, however it is called: a panic of Rust code is one."""
    return isinstance(error, SystemError) or type(error).__name__ == "PanicException"
