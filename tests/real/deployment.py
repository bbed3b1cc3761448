"""examples/complete, applied to moto, and hosts that are started with what the task definition says."""

import json
from urllib.parse import urlsplit

from calls import Recorder
from cloud import KEYS, CloudBucket
from host import BINARY
from lake import Lake
from pipeline import Pipeline
from process import Process, free_port, until
from s3 import REGION

AT = "examples/complete"
PROVIDER = """
provider "aws" {
  region                      = var.region
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  s3_use_path_style           = true

  default_tags {
    tags = { project = var.name }
  }
}
"""


class Deployment:
    def __init__(self, terraform, cloud, kafka, name):
        self.terraform, self.cloud, self.kafka, self.name = terraform, cloud, kafka, name
        (terraform.folder / AT / "moto_override.tf").write_text(PROVIDER)
        (terraform.folder / AT / "test.auto.tfvars.json").write_text(json.dumps({
            "region": REGION, "name": name, "prefix": name, "topic": name, "brokers": [kafka.brokers],
            "image": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/tidemill:0.1.0",
            "emails": ["ops@example.com"], "dashboard": True, "force_destroy": True,
        }))
        terraform.init(at=AT)
        self.applying = terraform.start("apply", "-auto-approve", "-input=false", "-no-color", at=AT)

    def applied(self):
        code = self.applying.wait(200)
        assert code == 0, f"{self.applying.stdout[-2000:]}\n{self.applying.stderr[-3000:]}"
        self.told = self.terraform.outputs(at=AT)["tidemill"]
        ecs = self.cloud.client("ecs")
        (service,) = ecs.describe_services(cluster=self.told["cluster_name"], services=[self.told["service_name"]])["services"]
        self.task = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
        (self.container,) = self.task["containerDefinitions"]
        self.environment = {v["name"]: v["value"] for v in self.container["environment"]}
        zone = lambda key: CloudBucket(self.cloud, urlsplit(self.environment[key]).netloc)
        self.lake = Lake(zone("TIDEMILL_RAW"), zone("TIDEMILL_PROCESSED"))
        return self

    def opened(self):
        """Takes away the buckets' policies, which refuse whoever comes without TLS, as everybody here does; moto
        looks at no condition of them anyway."""
        for bucket in self.cloud.s3.list_buckets()["Buckets"]:
            self.cloud.s3.delete_bucket_policy(Bucket=bucket["Name"])

    def policies(self):
        """The documents of the hosts' role and of the operators' policy, as they were applied."""
        iam = self.cloud.client("iam")
        role = self.told["task_role_arn"].rsplit("/", 1)[1]
        (inline,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
        arn = self.told["operator_policy_arn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        return (iam.get_role_policy(RoleName=role, PolicyName=inline)["PolicyDocument"],
                iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"])


class Site:
    """Where hosts of a deployment run in the tests. Their environment is the container's; what is added is what a task
    finds around it: an endpoint, credentials, a folder to write to."""

    def __init__(self, deployment, folder, transforms):
        self.deployment, self.folder, self.started = deployment, folder, 0
        # Hosts and people have other rights, so their calls are kept apart.
        self.hosts, self.people = Recorder(deployment.cloud.port), Recorder(deployment.cloud.port)
        self.http = free_port()
        environment = deployment.environment
        self.env = {
            **environment, **KEYS, "HOME": "/nonexistent", "TMPDIR": folder, "XDG_RUNTIME_DIR": folder,
            "AWS_EC2_METADATA_DISABLED": "true",
            "TIDEMILL_HTTP": f"127.0.0.1:{self.http}", "TIDEMILL_HTTP_TOKEN": "made-up", "TIDEMILL_PULSE": "1s",
        }
        self.transforms = transforms(self)
        self.pipeline = Pipeline(None, environment["TIDEMILL_TOPIC"], environment["TIDEMILL_GROUP"], deployment.lake)

    def __call__(self, command, *arguments, binary=BINARY, **env):
        """Starts `tidemill COMMAND` there."""
        self.started += 1
        name = f"{self.deployment.name}-{command}-{self.started}"
        url = (self.hosts if command == "run" else self.people).url
        env = {"AWS_ENDPOINT_URL_S3": url, "AWS_ENDPOINT_URL_GLUE": url, **env}
        return Process(name, [binary, command, *arguments], {**self.env, **env}, self.folder / name)

    def done(self, command, *arguments, seconds=60, codes=(0,)):
        process = self(command, *arguments)
        code = process.wait(seconds)
        assert code in codes, f"tidemill {command} {' '.join(map(str, arguments))}: {code}\n{process.stdout[-2000:]}\n{process.stderr[-2000:]}"
        return process

    def host(self, **env):
        return self("run", *self.deployment.container["command"][1:], **env)

    def produce(self, count, seed=7):
        """Events, one in a hundred of them bad; returns how many there are now."""
        environment = self.deployment.environment
        self.done("produce", "--brokers", environment["TIDEMILL_BROKERS"], "--topic", environment["TIDEMILL_TOPIC"],
                  "--count", count, "--bad", "0.01", "--seed", seed, "--rate", 0)
        return sum(self.deployment.kafka.ends(environment["TIDEMILL_TOPIC"]).values())

    def visible(self, events, host, seconds=60):
        table = self.pipeline.raw
        until(lambda: self.deployment.lake.count(table) >= events, seconds, f"{events} events in {table}", every=0.3,
              alive=[host])
