"""The template as data."""

from functools import cache
from pathlib import Path

import yaml

PATH = Path(__file__).parent.parent / "infra" / "template.yaml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as one-key mappings."""


def _tagged(loader, suffix, node):
    name = "Ref" if suffix == "Ref" else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".") if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tagged)


@cache
def load():
    """Return the parsed template."""
    return yaml.load(PATH.read_text(), Loader=_Loader)


def resources(kind):
    """Return the properties of the template's resources of a type, by logical id."""
    return {
        name: resource.get("Properties", {})
        for name, resource in load()["Resources"].items()
        if resource["Type"] == kind
    }


def tables(prefix):
    """Return what CreateTable wants for each table of the template."""
    wanted = (
        "AttributeDefinitions",
        "KeySchema",
        "BillingMode",
        "GlobalSecondaryIndexes",
    )
    for properties in resources("AWS::DynamoDB::Table").values():
        name = properties["TableName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        table = {
            "TableName": prefix + name,
            **{key: properties[key] for key in wanted if key in properties},
        }
        if stream := properties.get("StreamSpecification"):
            table["StreamSpecification"] = {"StreamEnabled": True, **stream}
        yield table
