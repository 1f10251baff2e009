"""What is wrong with a value, in one sentence, from pydantic's error."""

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from textvae.config.files import short
from textvae.errors import did_you_mean

__all__ = ["complaint"]

SENTENCES = {
    "extra_forbidden": "unknown key",
    "missing": "must be given",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
    "finite_number": "must be a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a mapping of keys to values"),
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}
"""Messages for pydantic's kinds of error."""


def complaint(error: ErrorDetails, place: tuple[str, ...], schema: type[BaseModel]) -> str:
    """What is wrong with the value at `place`, and the valid choices."""
    kind = error["type"]
    if kind == "model_type" and error.get("ctx", {}).get("class_name") == "Member":
        said = f"must be a mapping such as {{kind: NAME}}, not {short(error['input'])}"
        return f"{said}; on the command line its keys are set one by one, such as --{'.'.join(place)}.kind"
    sentence = SENTENCES.get(kind, "{0}").format(error["msg"], **error.get("ctx", {}))
    if kind == "extra_forbidden":
        return sentence + _suggest(place, schema)
    return sentence if kind == "missing" else f"{sentence}, not {short(error['input'])}"


def _suggest(location: tuple[str, ...], schema: type[BaseModel]) -> str:
    for part in location[:-1]:
        inner = schema.model_fields[part].annotation if part in schema.model_fields else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        schema = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), schema)
    choices = list(schema.model_fields)
    guess = did_you_mean(location[-1], choices)
    return f"{guess}; valid keys are {', '.join(choices)}" if choices else "; there are no keys to set here"
