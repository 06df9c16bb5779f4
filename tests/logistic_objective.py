"""What LogisticRegression minimises, written with numpy in float64: it tells how good a model is without asking it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own name for it
from scipy.special import logsumexp
from training_data import Float64


class Objective:
    """The rows of `data` and what `params`, as given to LogisticRegression, make of them."""

    def __init__(self, data: DataFrame, params: Mapping[str, Any]) -> None:
        weight = F.col(params["weightCol"]).cast("double") if "weightCol" in params else F.lit(1.0)
        features = vector_to_array(params.get("featuresCol", "features"))
        rows = data.select(features, F.col(params.get("labelCol", "label")), weight).toPandas()
        self.x = np.array(rows.iloc[:, 0].tolist())
        self.y = rows.iloc[:, 1].to_numpy().astype(int)
        self.w = rows.iloc[:, 2].to_numpy()
        self.mean = np.average(self.x, axis=0, weights=self.w)
        squares = self.w @ (self.x - self.mean) ** 2
        self.std = np.sqrt(squares / (self.w.sum() - self.w @ self.w / self.w.sum()))
        strength, share = params.get("regParam", 0.0), params.get("elasticNetParam", 0.0)
        self.l1, self.l2 = strength * share, strength * (1 - share)
        self.standardized = params.get("standardization", True)

    def __call__(self, model: LogisticRegressionModel) -> float:
        """The mean loss of the rows, and the penalty."""
        coefficients = np.asarray(model.coefficientMatrix.toArray())
        margins = self.x @ coefficients.T + model.interceptVector.toArray()
        if len(coefficients) == 1:
            losses = np.logaddexp(0, margins[:, 0]) - self.y * margins[:, 0]
        else:
            losses = logsumexp(margins, axis=1) - margins[np.arange(len(self.y)), self.y]
        penalized = coefficients * self.std if self.standardized else coefficients
        penalty = self.l1 * np.abs(penalized).sum() + self.l2 / 2 * (penalized**2).sum()
        return float(self.w @ losses / self.w.sum() + penalty)

    def scaled(self, model: LogisticRegressionModel) -> Float64:
        """Coefficients for features of mean 0 and standard deviation 1 [sets, features + 1], the intercepts last: what
        a row's margin is made of, whatever the features' own scales."""
        coefficients = np.asarray(model.coefficientMatrix.toArray())
        intercepts = model.interceptVector.toArray() + coefficients @ self.mean
        return np.hstack([coefficients * self.std, intercepts[:, None]])
