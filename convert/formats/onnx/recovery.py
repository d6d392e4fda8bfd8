"""The program in an ONNX file of ours, to the bit, or a refusal."""

from __future__ import annotations

import os
import zlib

from onnx import numpy_helper

from convert.formats.onnx.description import built
from convert.formats.onnx.file import assemble, read
from convert.formats.onnx.graph import export
from spikestrip.errors import BadInput, Refused
from spikestrip.files import parsing
from spikestrip.program import Program


def recover(path: str | os.PathLike[str]) -> Program:
    """The program of an ONNX file that Spikestrip wrote.

    It is built anew, must have the hash that the file states, and is written again in memory: the file must hold that
    very graph. Raises BadInput for another file, an edited one, or one of a release whose graphs were others.
    """
    source, model, facts = read(path)
    if "program" not in facts:
        raise BadInput(source, "holds no program beside its graph (an older release wrote it); take what it came from")
    with parsing(source, "holds weights that can't be read"):
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    try:
        program = built(facts["program"], weights)
        form, dtype, eight = facts["form"], facts["dtype"], facts["weights"] == "int8"
        made = export(program, form, dtype, functions=bool(model.functions), int8=eight)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error, BadInput, Refused) as error:
        raise BadInput(source, f"holds a program that can't be read ({error})") from error
    if program.sha256 != facts["program_sha256"]:
        raise BadInput(source, "holds another program than its hash says: the file was edited")
    again = assemble(made)
    for function in (*again.functions, *model.functions):
        function.doc_string = ""  # says what the operation is, and decides nothing
    if (again.graph, list(again.functions)) != (model.graph, list(model.functions)):
        raise BadInput(source, "hasn't the graph that this release writes of it: edited, or of another release")
    return program
