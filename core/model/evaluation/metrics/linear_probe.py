"""Linear probes: what can be read from embeddings by ridge regression, on data that the probe was not fitted to.

Shapes: N pictures, D embedding width, J outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_RIDGE = 1e-3
"""Penalty on the squared weights, as a share of the number of pictures; embeddings are standardised."""


@dataclass(frozen=True)
class LinearProbe:
    """A fitted regression from embeddings to outputs."""

    mean_D: Floats
    deviation_D: Floats
    weights_DJ: Floats
    bias_J: Floats

    @staticmethod
    def fit(embeddings_ND: Floats, outputs_NJ: Floats) -> LinearProbe:
        """Least squares with a small penalty; dimensions that do not vary are ignored."""
        mean_D, deviation_D = embeddings_ND.mean(axis=0), embeddings_ND.std(axis=0)
        deviation_D = np.where(deviation_D > 0, deviation_D, 1.0)
        standard_ND, bias_J = (embeddings_ND - mean_D) / deviation_D, outputs_NJ.mean(axis=0)
        penalty_DD = _RIDGE * len(standard_ND) * np.eye(standard_ND.shape[1])
        weights_DJ = np.linalg.solve(standard_ND.T @ standard_ND + penalty_DD, standard_ND.T @ (outputs_NJ - bias_J))
        return LinearProbe(mean_D, deviation_D, weights_DJ, bias_J)

    def __call__(self, embeddings_ND: Floats) -> Floats:
        """Outputs [N, J]."""
        return (embeddings_ND - self.mean_D) / self.deviation_D @ self.weights_DJ + self.bias_J


def right_classes(fit_ND: Floats, fit_labels_N: Labels, test_ND: Floats, test_labels_N: Labels) -> Floats:
    """1 for each test picture whose class is read correctly, else 0: the largest of one regression per class."""
    classes = np.eye(int(fit_labels_N.max()) + 1)
    probe = LinearProbe.fit(fit_ND, classes[fit_labels_N])
    return (probe(test_ND).argmax(axis=1) == test_labels_N).astype(np.float64)


def correlations(predicted_NJ: Floats, true_NJ: Floats) -> Floats:
    """Pearson correlation over the outputs of each picture [N]; 0 where one of them is constant."""
    centred = [values - values.mean(axis=1, keepdims=True) for values in (predicted_NJ, true_NJ)]
    products = (centred[0] * centred[1]).sum(axis=1)
    lengths = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
