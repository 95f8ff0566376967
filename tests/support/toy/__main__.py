"""The command line with one row more."""

from inference_server.cli import main
from inference_server.predictors import table

table.KINDS["parity"] = "tests.support.toy.kind"
main()
