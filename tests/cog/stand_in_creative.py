"""The predictor of the upscaler creative with functions in place of the diffusion networks."""

import predict
import predict_creative
from tests.diffusion import Doubles, blurring


class Predictor(predict_creative.Predictor):
    def setup(self):
        predict.Predictor.setup(self)
        self.networks = Doubles(blurring)
