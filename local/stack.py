"""The stack: the template deployed into a ministack, and a user who may use it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import boto3
import botocore.session
import httpx
from botocore.config import Config
from botocore.exceptions import ClientError

from local.build import PARAMETERS, TEMPLATE, build, environment, overrides
from local.ministack import ACCESS_KEY, REGION, Ministack
from local.progress import Failed, run, step, tail
from local.tools import ROOT, SHARED, locked, tool

NAME = "cronhop"
USERNAME = "admin"
GROUPS = ("admin", "operator")
DEPLOY_BUCKET = "cronhop-deploy"
FILES_BUCKET = "cronhop-files"  # what file transfers bring and take
DEPLOYED = "cronhop-deployed"  # a parameter: digest of what was deployed last
DEFAULT_PORT = 4566
LAST_PORT = 65_535
HEALTH_S = 180  # seconds until the API must answer; a busy machine is slow
PARAMETERS_HERE = PARAMETERS | {
    "AllowedNetworks": "127.0.0.1/32",  # the demo server is on this machine
    "DeletionProtection": "false",
    "TlsOnly": "false",  # ministack speaks HTTP, and keeps to such policies
    "TransferBucket": FILES_BUCKET,
}


class Stack:
    """The stack in one folder, and how to talk to it."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.ministack = Ministack(directory, port)
        self.endpoint_url = self.ministack.url
        # The API's id is fixed by a tag in the template.
        self.api_url = f"{self.endpoint_url}/_aws/execute-api/cronhop"

    @classmethod
    def from_env(cls) -> Stack:
        """Return the stack that CRONHOP_LOCAL and CRONHOP_PORT name.

        A stack keeps the port of its first start: its event sources know the queue
        by an address with a port. Raises Failed if another is asked for.

        The folder is its owner's only: ministack keeps secrets there in the clear.
        """
        directory = Path(os.environ.get("CRONHOP_LOCAL") or SHARED).resolve()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        remembered = directory / "port"
        wanted = os.environ.get("CRONHOP_PORT", "")
        if not remembered.exists():
            return cls(directory, _port(wanted) if wanted else DEFAULT_PORT)
        port = int(remembered.read_text())
        if wanted and _port(wanted) != port:
            raise Failed(f"This stack lives at port {port}: `make reset` first.")
        return cls(directory, port)

    def up(self) -> None:
        """Bring it up: build, start, deploy, make a user; what is done is skipped.

        1. start ministack, if it is not running
        2. build the template, if a source has changed
        3. deploy, if what was built is not what was deployed last
        4. make the user, if the login that is kept does not work
        5. write down where it is, wait for its API, and tick once: the first tick
           of ministack's own comes up to two minutes after its start
        """
        started = self.ministack.start()
        (self.directory / "port").write_text(str(self.ministack.port))
        deployed = self._deploy(build())
        self._make_user()
        with step("Waking the functions"), ThreadPoolExecutor() as pool:
            tick = (
                pool.submit(self.invoke, "dispatcher", {})
                if started or deployed
                else None
            )
            self._wait_for_health()
            if tick:
                tick.result()

    def stop(self) -> None:
        """End it; its state is kept."""
        self.ministack.stop()

    def reset(self) -> None:
        """Forget all but what is shared with other stacks of this checkout."""
        self.stop()
        shared = {SHARED / name for name in ("build", "cache", "log", "sam", "tools")}
        for path in self.directory.iterdir():
            if path in shared or path.suffix == ".lock":
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def is_running(self) -> bool:
        """Return whether ministack runs and the stack was deployed into it."""
        return self.ministack.is_running() and self._notes.exists()

    def notes(self) -> dict[str, str]:
        """Return what stack.json says: where the stack is, and who may log in.

        Raises Failed if the stack was never up.
        """
        try:
            notes: dict[str, str] = json.loads(self._notes.read_text())
        except FileNotFoundError:
            raise Failed("There is no stack yet: `make run` makes one.") from None
        return notes

    def token(self) -> str:
        """Return an access token of the user, good for an hour."""
        notes = self.notes()
        answer = self.client("cognito-idp").initiate_auth(
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=notes["client_id"],
            AuthParameters={
                "USERNAME": notes["username"],
                "PASSWORD": notes["password"],
            },
        )
        token: str = answer["AuthenticationResult"]["AccessToken"]
        return token

    def http(self) -> httpx.Client:
        """Return a client of the API that is logged in."""
        return httpx.Client(
            base_url=self.api_url,
            headers={"Authorization": f"Bearer {self.token()}"},
            timeout=30,
            trust_env=False,
        )

    def client(self, service: str) -> Any:
        """Return a client of AWS for the root of ministack's account."""
        with _making:
            return _session().client(
                service,
                endpoint_url=self.endpoint_url,
                config=Config(
                    proxies={}, read_timeout=150, retries={"total_max_attempts": 1}
                ),
            )

    def invoke(self, function: str, payload: object) -> Any:
        """Invoke a function by its short name and return what it answers.

        Raises Failed if it fails.
        """
        answer = self.client("lambda").invoke(
            FunctionName=f"{NAME}-{function}", Payload=json.dumps(payload).encode()
        )
        body = answer["Payload"].read().decode()
        if "FunctionError" in answer:
            raise Failed(
                f"The {function} failed: {body}\n{self.function_log(function)}"
            )
        return json.loads(body) if body else None

    def function_log(self, function: str) -> str:
        """Return the end of a function's log, for an error message."""
        group = f"/aws/lambda/{NAME}-{function}"
        try:
            events = self.client("logs").filter_log_events(logGroupName=group)
        except ClientError as error:
            return f"There is no log {group}: {error}"
        lines = [event["message"].rstrip() for event in events["events"]]
        shown = "\n".join(f"  {line}" for line in lines[-20:])
        return f"The end of {group}:\n{shown}"

    @property
    def _notes(self) -> Path:
        return self.directory / "stack.json"

    def _deploy(self, built: str) -> bool:
        """Deploy what was built. Return False if it was deployed already.

        What was deployed last, ministack itself keeps: it loses that together with
        the stack, if it does not end cleanly.
        """
        parameters = json.dumps(PARAMETERS_HERE, sort_keys=True)
        digest = hashlib.sha256(f"{built}{parameters}".encode()).hexdigest()
        ssm = self.client("ssm")
        with suppress(ssm.exceptions.ParameterNotFound):
            if ssm.get_parameter(Name=DEPLOYED)["Parameter"]["Value"] == digest:
                return False
        with step("Deploying the template"), locked("build"):
            self._make_buckets()
            self._sam_deploy()
            self._make_numbers()
            self._allow_batches()
        ssm.put_parameter(Name=DEPLOYED, Value=digest, Type="String", Overwrite=True)
        return True

    def _make_buckets(self) -> None:
        s3 = self.client("s3")
        there = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
        for name in {DEPLOY_BUCKET, FILES_BUCKET}.difference(there):
            s3.create_bucket(Bucket=name)

    def _sam_deploy(self) -> None:
        run(
            [
                tool("sam"),
                "deploy",
                *("--template-file", TEMPLATE),
                *("--stack-name", NAME),
                *("--region", REGION),
                *("--s3-bucket", DEPLOY_BUCKET),
                *("--capabilities", "CAPABILITY_IAM"),
                *("--parameter-overrides", *overrides(PARAMETERS_HERE)),
                "--no-confirm-changeset",
                "--no-fail-on-empty-changeset",
                "--no-progressbar",
            ],
            log=self.directory / "log" / "sam-deploy.log",
            env=environment()
            | {
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": "ministack",
                "AWS_ENDPOINT_URL": self.endpoint_url,
                "NO_PROXY": "127.0.0.1",
            },
            cwd=ROOT,
        )

    def _make_numbers(self) -> None:
        """Make the event sources' limits numbers: ministack took them as text.

        It compares them with numbers, and without this no message is delivered.
        """
        functions = self.client("lambda")
        for source in functions.list_event_source_mappings()["EventSourceMappings"]:
            limit = source.get("ScalingConfig", {}).get("MaximumConcurrency")
            if limit is not None:
                functions.update_event_source_mapping(
                    UUID=source["UUID"],
                    ScalingConfig={"MaximumConcurrency": int(limit)},
                )

    def _allow_batches(self) -> None:
        """Let roles that may write by PartiQL do so in batches.

        ministack asks for the right to BatchExecuteStatement. On AWS there is none:
        what the statements do has to be allowed, and is by the template.
        """
        iam = self.client("iam")
        cloudformation = self.client("cloudformation")
        lists = cloudformation.get_paginator("list_stack_resources")
        resources = lists.paginate(StackName=NAME).search("StackResourceSummaries[]")
        for resource in resources:
            if resource["ResourceType"] != "AWS::IAM::Role":
                continue
            role = resource["PhysicalResourceId"]
            policies = [
                iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
            ]
            if "dynamodb:PartiQL" in json.dumps(policies):
                allowed = {
                    "Effect": "Allow",
                    "Action": "dynamodb:BatchExecuteStatement",
                    "Resource": "*",
                }
                iam.put_role_policy(
                    RoleName=role,
                    PolicyName="batches",
                    PolicyDocument=json.dumps(
                        {"Version": "2012-10-17", "Statement": [allowed]}
                    ),
                )

    def _make_user(self) -> None:
        """Make sure that the login in stack.json works."""
        if self._notes.exists() and self._can_log_in():
            return
        outputs = self.outputs()
        cognito = self.client("cognito-idp")
        pool = outputs["UserPoolId"]
        password = f"{secrets.token_urlsafe(18)}-aA1"
        # If the user is there, the password was lost: it gets another.
        with suppress(cognito.exceptions.UsernameExistsException):
            cognito.admin_create_user(
                UserPoolId=pool,
                Username=USERNAME,
                MessageAction="SUPPRESS",
                TemporaryPassword=password,
            )
        cognito.admin_set_user_password(
            UserPoolId=pool, Username=USERNAME, Password=password, Permanent=True
        )
        for group in GROUPS:
            cognito.admin_add_user_to_group(
                UserPoolId=pool, Username=USERNAME, GroupName=group
            )
        self._write_notes(
            {
                "api_url": self.api_url,
                "token_command": f"make -s -C {ROOT} token",
                "endpoint_url": self.endpoint_url,
                "region": REGION,
                "stack_name": NAME,
                "username": USERNAME,
                "password": password,
                "client_id": outputs["UserPoolClientId"],
            }
        )

    def _can_log_in(self) -> bool:
        try:
            self.token()
        except ClientError:
            return False
        return True

    def _write_notes(self, notes: dict[str, str]) -> None:
        self._notes.unlink(missing_ok=True)
        self._notes.touch(mode=0o600)
        self._notes.write_text(json.dumps(notes, indent=2) + "\n")

    def outputs(self) -> dict[str, str]:
        stacks = self.client("cloudformation").describe_stacks(StackName=NAME)
        return {
            output["OutputKey"]: output["OutputValue"]
            for output in stacks["Stacks"][0]["Outputs"]
        }

    def _wait_for_health(self) -> None:
        end = time.monotonic() + HEALTH_S
        answer = "no answer"
        while time.monotonic() < end:
            try:
                health = httpx.get(
                    f"{self.api_url}/v1/health", timeout=30, trust_env=False
                )
            except httpx.TransportError as error:
                answer = repr(error)
            else:
                if health.is_success:
                    return
                answer = f"{health.status_code} {health.text}"
            time.sleep(0.5)
        raise Failed(
            f"The API does not come up: {answer}\n{self.function_log('api')}\n"
            f"{tail(self.ministack.log)}"
        )


_making = Lock()  # a session makes one client at a time


@cache
def _session() -> boto3.Session:
    """Return the session of all clients: it reads a service's model once."""
    # Nothing of the user's own AWS account: no profile, no files.
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.Session(
        botocore_session=core,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key="ministack",  # noqa: S106  (any will do)
        region_name=REGION,
    )


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= LAST_PORT:
        raise Failed(f"CRONHOP_PORT is {text!r}, not a port.")
    return int(text)
