"""Progress of a training of V or M."""

import logging
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from dreamserve_training.progress import SECONDS_BETWEEN_LINES, duration

logger = logging.getLogger("dreamserve_training")


class EpochLog(Callback):
    """Logs each epoch's metrics and the time left, and the batches of an epoch that takes long."""

    def __init__(self) -> None:
        self._start_s = self._logged_s = 0.0
        self._first_epoch = 0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Remember the first epoch of this run, which is not 0 after a resume."""
        self._start_s = self._logged_s = time.monotonic()
        self._first_epoch = trainer.current_epoch

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the batch's loss if the last line is old."""
        now_s = time.monotonic()
        if now_s - self._logged_s < SECONDS_BETWEEN_LINES:
            return
        self._logged_s = now_s
        logger.info(
            "epoch %d/%s  batch %d/%s  loss %.4g  %s",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            batch_idx + 1,
            trainer.num_training_batches,
            float(outputs["loss"]),
            self._left(trainer, (batch_idx + 1) / trainer.num_training_batches),
        )

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Log the epoch's training and validation metrics."""
        self._logged_s = time.monotonic()
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
        left = self._left(trainer, 1.0)
        logger.info(
            "epoch %d/%s  %s  %s", trainer.current_epoch + 1, trainer.max_epochs, text, left
        )

    def _left(self, trainer: lightning.Trainer, share: float) -> str:
        done = trainer.current_epoch + share
        if done <= self._first_epoch:  # an epoch of unknown length
            return ""
        epoch_s = (time.monotonic() - self._start_s) / (done - self._first_epoch)
        return f"{duration(max(epoch_s * ((trainer.max_epochs or done) - done), 0))} left"
