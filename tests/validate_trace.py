"""Validates JSON Lines traces by a JSON Schema, with the Python package `jsonschema`.

The schema and the traces as arguments. Prints how many lines are valid; fails at the first that is not; 77 without the
package.
"""

import json
import sys

try:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
except ImportError:
    sys.exit(77)


def main(schema, *traces):
    with open(schema) as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    valid = 0
    for trace in traces:
        with open(trace) as lines:
            for number, line in enumerate(lines, 1):
                error = best_match(validator.iter_errors(json.loads(line)))
                if error:
                    sys.exit(f"{trace}:{number}: {error.json_path}: {error.message}")
                valid += 1
    print(valid)


main(*sys.argv[1:])
