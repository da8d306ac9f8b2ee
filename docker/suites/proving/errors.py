"""The text of an exception for a report."""

import traceback


def describe(error: BaseException) -> str:
    """Type and message. An assertion without a message is named by its line of source."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, AssertionError) and not str(error) and frames:
        text += f": {frames[-1].line} ({frames[-1].filename}, line {frames[-1].lineno})"
    return text[:2000]


def is_fault(error: BaseException) -> bool:
    """Whether an exception is a fault of native code, however it is called: a panic of Rust code is one."""
    return isinstance(error, SystemError) or type(error).__name__ == "PanicException"
