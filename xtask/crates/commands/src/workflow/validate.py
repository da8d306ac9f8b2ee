"""Validates the document on standard input.

The argument is the name of a schema in check_jsonschema, or the absolute path of another one."""

import importlib.util
import json
import pathlib
import sys

import fastjsonschema

# The package itself has dependencies, and is not needed: only the schemas in it are.
package = pathlib.Path(importlib.util.find_spec("check_jsonschema").origin).parent
# An absolute path replaces what it is joined to.
schema = json.loads((package / "builtin_schemas/vendor" / sys.argv[1]).read_text())
try:
    fastjsonschema.compile(schema)(json.load(sys.stdin))
except fastjsonschema.JsonSchemaException as error:
    sys.exit(f"{error.name}: {error.message[:600]}")
