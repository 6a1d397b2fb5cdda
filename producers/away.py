"""Something that may be away for hours is told in one line when it goes and in one when it is back."""

from typing import Any


class Away:
    """What was said about something that others try again and again.

    Args:
        log: Says it.
        gone: What is said when it is found away; the error is added.
        back: What is said when it answers again.
        context: Added to both.
    """

    def __init__(self, log: Any, gone: str, back: str, **context: object) -> None:
        self._log = log
        self._gone = gone
        self._back = back
        self._context = context
        self._away = False

    def failed(self, error: BaseException, **more: object) -> None:
        """It did not answer: said at the first time since it last did."""
        if not self._away:
            self._log.warning(self._gone, error=str(error), **self._context, **more)
        self._away = True

    def worked(self) -> None:
        """It answered."""
        if self._away:
            self._log.info(self._back, **self._context)
        self._away = False
