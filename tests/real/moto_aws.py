"""moto as a server on 127.0.0.1, with what Terraform asks for and moto does not know: no more than AWS documents.

    python moto_aws.py PORT
"""

import json
import sys

from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.athena.responses import AthenaResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.s3.models import FakeDeleteMarker
from moto.server import main

tags = {}  # of what moto drops the tags of, by ARN


def list_tags_for_resource(self):
    return ActionResult({"Tags": tags.get(self._get_param("ResourceARN"), {})})


def tag_resource(self):
    tags.setdefault(self._get_param("ResourceARN"), {}).update(self._get_param("Tags") or {})
    return EmptyResult()


def delete_named_query(self):
    self.athena_backend.named_queries.pop(self._get_param("NamedQueryId"), None)
    return EmptyResult()


def with_tags(register):
    """A scalable target comes with its tags."""
    def registering(self):
        answer = register(self)
        tags.setdefault(json.loads(answer)["ScalableTargetARN"], {}).update(self._get_param("Tags") or {})
        return answer
    return registering


def remembers(create, *names):
    """A service that is made keeps those of its settings that moto forgets."""
    def creating(self):
        answer = create(self)
        for name in names:
            snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
            setattr(answer.result["service"], snake, self._get_param(name))
        return answer
    return creating


if __name__ == "__main__":
    for responses, added in {ApplicationAutoScalingResponse: (list_tags_for_resource, tag_resource),
                             AthenaResponse: (delete_named_query,)}.items():
        for answer in added:
            assert not hasattr(responses, answer.__name__), f"moto knows {answer.__name__} by now: take it out here"
            setattr(responses, answer.__name__, answer)
    ApplicationAutoScalingResponse.register_scalable_target = with_tags(
        ApplicationAutoScalingResponse.register_scalable_target)
    EC2ContainerServiceResponse.create_service = remembers(
        EC2ContainerServiceResponse.create_service, "availabilityZoneRebalancing", "deploymentConfiguration")
    # A bucket with versions cannot be emptied without this: a delete marker is removed like a version.
    assert not hasattr(FakeDeleteMarker, "dispose"), "moto removes delete markers by now: take it out here"
    FakeDeleteMarker.dispose = lambda self: None
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
