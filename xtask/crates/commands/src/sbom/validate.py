"""Holds the documents on standard input, by name, against the schema of CycloneDX of the version named."""

import importlib.util
import json
import pathlib
import sys

import fastjsonschema

# The package has dependencies, and is not needed: only the schemas in it are.
package = pathlib.Path(importlib.util.find_spec("cyclonedx").origin).parent
folder = package / "schema/_res"


def named(address: str) -> dict:
    return json.loads((folder / address.rpartition("/")[2]).read_text())


validate = fastjsonschema.compile(
    named(f"bom-{sys.argv[1]}.SNAPSHOT.schema.json"), handlers={"http": named, "https": named}
)
wrong = []
for name, document in json.load(sys.stdin).items():
    try:
        validate(document)
    except fastjsonschema.JsonSchemaException as error:
        wrong.append(f"{name}: {error.name}: {error.message[:600]}")
    references = [part["bom-ref"] for part in document["components"]]
    if len(set(references)) < len(references):
        wrong.append(f"{name}: two components have the same `bom-ref`")
sys.exit("\n".join(wrong) or 0)
