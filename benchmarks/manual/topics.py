"""What the reference of the method interface is about, in its order, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace

from .reading import Topic, read_class, read_module

PARTS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "The method": (
        ("methods/base.py", ("Method", "Requires", "Facts", "Plan")),
        ("methods/planning.py", ("PlannedPhase",)),
        ("federation/models/build.py", ("NetBytes",)),
    ),
    "What a method is handed": (
        ("federation/cohort.py", ("Cohort", "FitLog")),
        ("federation/rounds.py", ("Round", "Turn", "Federation")),
        ("federation/data.py", ("PublicPool",)),
        ("fl_bench/sealed.py", ("Sealed",)),
        ("federation/channel.py", ("Uploads",)),
        ("federation/settings.py", ("Training",)),
    ),
    "What training needs": (
        ("federation/batches.py", ("PrivateData", "Pairs", "Teaching", "Beside", "Together", "Batch")),
        ("federation/phase.py", ("Step",)),
        ("federation/phase.py", ()),
        ("federation/optimizers.py", ("Optimizer",)),
    ),
    "What is sent": (
        (
            "federation/payloads.py",
            ("Payload", "Scores", "Labels", "Parameters", "Prototypes", "Scalars", "Bundle"),
        ),
        ("federation/payloads.py", ()),
        ("federation/channel.py", ("Downloads", "Parcel")),
    ),
    "What is scored": (("federation/deployed.py", ("Deployed",)),),
    "Helpers": (
        ("methods/base.py", ()),
        ("methods/losses.py", ()),
        ("methods/averaging.py", ()),
        ("federation/trees.py", ()),
        ("methods/parts.py", ()),
        ("methods/two_models.py", ("TwoModels", "Mixture")),
        ("methods/two_models.py", ()),
        ("methods/server_steps.py", ()),
        ("federation/optimizers.py", ()),
        ("methods/clustering.py", ()),
        ("methods/similarity.py", ()),
        ("methods/simplex.py", ()),
        ("fl_bench/streams.py", ()),
    ),
}
"""Heading to files; of each, the classes, or the functions where none is named."""

MODULES = {
    "phase": "Helpers of objectives",
    "payloads": "Helpers of payloads",
    "base": "Helpers of settings",
    "losses": "Helpers of losses",
    "averaging": "Helpers of averaging",
    "trees": "Helpers of trees",
    "parts": "Helpers of parts of a model",
    "two_models": "Helpers of two models in a client",
    "server_steps": "Helpers of steps at the server",
    "optimizers": "Helpers of optimizers",
    "clustering": "Helpers of clustering",
    "similarity": "Helpers of similarity",
    "simplex": "Helpers of the simplex",
    "streams": "Helpers of randomness",
}
"""Headings of modules of functions."""

LEFT_OUT = {
    "Plan.phases": "the planner's own",
    "PlannedPhase.once": "the planner's own",
    "PlannedPhase.happens": "the planner's own",
    "Method.config_type": "found in `Method[YourConfig]`",
    "Cohort.members": "what engines read",
    "Federation.with_public": "for the contract",
    "Cohort.work": "what the run counts",
    "PrivateData.stream": "the engines' own",
    "PrivateData.work": "the engines' own",
    "Pairs.stream": "the engines' own",
    "Pairs.work": "the engines' own",
    "Teaching.stream": "the engines' own",
    "Teaching.work": "the engines' own",
    "Beside.stream": "the engines' own",
    "Beside.work": "the engines' own",
    "Together.stream": "the engines' own",
    "Together.work": "the engines' own",
    "Batch.masks": "the engines' own",
    "Optimizer.at": "the engines' own",
    "Optimizer.slots": "the engines' own",
    "Payload.map": "for a payload of another type, which the channel does not know",
    "Payload.tensors": "the same",
    "Payload.content_bytes": "the same",
    "Payload.state_dict": "what `to_bytes` is made of",
    "Payload.join": "the channel's own",
    "Sealed.open_for_evaluation": "the evaluator's own",
    "Sealed.badges": "the record's own",
    "base.unsupported": "the runner's own",
    "phase.phase_name": "the engines' own",
    "phase.training_mode": "the engines' own",
    "payloads.payload_of": "of `from_bytes`",
    "clustering.square_matrix": "of its neighbours",
    "clustering.check_clusters": "of its neighbours",
}
"""Public members that a method does not use, and why."""


def topics() -> dict[str, list[Topic]]:
    """Everything that the reference says, heading by heading.

    Raises:
        ValueError: something that a method uses has no docstring.
    """
    return {
        heading: [
            _told(topic)
            for file, classes in files
            for topic in ([read_class(file, name) for name in classes] if classes else [read_module(file)])
        ]
        for heading, files in PARTS.items()
    }


def _told(topic: Topic) -> Topic:
    """A topic without what is left out."""
    kept = tuple(entry for entry in topic.entries if entry.key not in LEFT_OUT)
    mute = [entry.key for entry in kept if not entry.doc]
    if mute:
        raise ValueError(f"without docstring: {', '.join(mute)}")
    return replace(topic, entries=kept)
