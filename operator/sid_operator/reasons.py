"""Every reason and message that the operator shows, in conditions, failures and events.

Rules this module keeps:

* A reason is one CamelCase word that programs may compare; it is never reused for another meaning.
* A message says what is the case and, where it is bad, what to do about it. It names the field of
  the resource that the remedy lies in.
* Reasons of failures that the trainer itself tells are
  :class:`sid_trainer.contract.FailureReason`.
"""

from __future__ import annotations

from typing import Final

from sid_trainer.contract import FailureReason

# Accepted
ACCEPTED: Final = "Accepted"
INVALID_SPEC: Final = "InvalidSpec"
NAME_CONFLICT: Final = "NameConflict"
REFUSED: Final = "RefusedByApiServer"
STATUS_REFUSED: Final = "StatusRefused"
NO_EFFECT: Final = "NoEffect"

# FitsMemory
FITS: Final = "Fits"
FITS_BARELY: Final = "FitsBarely"
MAY_NOT_FIT: Final = "MayNotFit"
TOO_LARGE: Final = "TooLargeForGPUs"
HOST_TOO_SMALL: Final = "TooLargeForHostMemory"
DEPENDS_ON_NODE: Final = "DependsOnNode"
NEED_UNKNOWN: Final = "NeedUnknown"
GPUS_UNKNOWN: Final = "GPUsUnknown"

# PodsReady
ALL_READY: Final = "AllPodsReady"
NO_JOB: Final = "JobNotCreated"
RECREATING: Final = "Recreating"
QUEUED: Final = "WaitingForQueue"
CLEANING: Final = "CleaningUp"
PODS_PENDING: Final = "PodsPending"
PODS_STARTING: Final = "PodsStarting"

# PodsReady and failure: what keeps pods from starting. All of it ends when the cause is removed.
SECRET_NOT_FOUND: Final = "SecretNotFound"  # noqa: S105
SECRET_KEY_NOT_FOUND: Final = "SecretKeyNotFound"  # noqa: S105
SERVICE_ACCOUNT_NOT_FOUND: Final = "ServiceAccountNotFound"
PRIORITY_CLASS_NOT_FOUND: Final = "PriorityClassNotFound"
RUNTIME_CLASS_NOT_FOUND: Final = "RuntimeClassNotFound"
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
CONTAINER_NOT_CREATED: Final = "ContainerNotCreated"
CA_BUNDLE_NOT_FOUND: Final = "CaBundleNotFound"
VOLUME_NOT_MOUNTED: Final = "VolumeNotMounted"
SANDBOX_NOT_CREATED: Final = "SandboxNotCreated"
UNSCHEDULABLE: Final = "Unschedulable"
GATED: Final = "SchedulingGated"
NO_SCHEDULER: Final = "NoScheduler"
CLAIM_MISSING: Final = "ResourceClaimMissing"
PODS_NOT_CREATED: Final = "PodsNotCreated"
NODE_LOST: Final = "NodeLost"

# PodsReady, Running and failure: the trainer has ended, but not its pod.
HELD: Final = "HeldBySidecar"

# Running
TRAINING: Final = "Training"
NOT_STARTED: Final = "NotStarted"
RESTARTING: Final = "Restarting"
FAILING: Final = "Failing"
NO_REPORT: Final = "NoReport"
CHANGED: Final = "SpecChanged"
FINISHED: Final = "Finished"

# Stalled
NO_PROGRESS: Final = "NoProgress"
PROGRESSING: Final = "Progressing"

# CheckpointsStored
STORED: Final = "Stored"
NOT_STORED: Final = "NotStored"

# Suspended
SUSPENDED: Final = "SuspendedByUser"
SUSPENDING: Final = "Suspending"
RESUMED: Final = "Resumed"

# Complete
COMPLETED: Final = "AllIterationsDone"

# Failed, and failure: what the trainer could not tell itself
EVICTED: Final = "Evicted"
PREEMPTED: Final = "Preempted"
CANNOT_START: Final = "ContainerCannotStart"
BACKOFF_LIMIT: Final = "BackoffLimitExceeded"
DEADLINE: Final = "DeadlineExceeded"
JOB_FAILED: Final = "JobFailed"

# Events that are not a change of phase or a failure
EVENT_CREATED: Final = "Created"
EVENT_RESTORED: Final = "Restored"
EVENT_RECREATING: Final = "Recreating"
EVENT_UPDATED: Final = "Updated"
EVENT_EXPIRED: Final = "Expired"
EVENT_CLEANING: Final = "CleaningUp"
EVENT_NOT_CLEANED: Final = "CleanUpFailed"
EVENT_CLEANING_WAITS: Final = "CleanUpWaits"
EVENT_CLEANING_DROPPED: Final = "CleanUpDropped"
EVENT_RESUMED: Final = "Resumed"
EVENT_STALLED: Final = "Stalled"
EVENT_NOT_STORED: Final = "CheckpointNotStored"

SPEC_VALID: Final = "The spec is valid."
NO_IMAGE: Final = (
    "workers.image is not given, and the operator was installed without a default image: set it."
)
INVALID: Final = "The spec cannot be run: {details}"
CONFLICT: Final = (
    "{kind} {name} exists and does not belong to this resource: delete it, or create the resource "
    "under another name."
)
REFUSAL: Final = "The API server refused {kind} {name}: {details} {remedy}"
CHANGE_LEFT: Final = "Until then the run goes on as it was before the change."
STATUS_REFUSAL: Final = (
    "The API server refused what was to be written into the status, which is out of date since: "
    "{details} {remedy}"
)
EDITED_LATE: Final = (
    "The run has ended, so the change of its spec has no effect. To train on with it, delete the "
    "resource and create it again, changed, under its name: it goes on from its last checkpoint."
)
KEEP_FOLDER: Final = (
    "Set deletionPolicy to Retain before, or its folder is removed from the bucket."
)
REMEDY_RULE: Final = (
    "Change the resource to what the cluster allows, or ask its administrator about that rule; the "
    "operator tries again by itself."
)
REMEDY_WEBHOOK: Final = (
    "Ask the administrator of the cluster about that webhook; the operator tries again by itself."
)
REMEDY_ROLE: Final = (
    "The operator lacks a right: ask who installed it to upgrade its chart. It tries again by "
    "itself."
)

NEEDS: Final = (
    "Needs an estimated {need} GiB a GPU ({resident} always, {besides} besides for the {phase})."
)
FITS_ALL: Final = "The smallest GPU that the pods may get has {gpu}: {spare} GiB to spare."
IS_NARROW: Final = "That is little: fragmentation of the allocator's memory may take as much."
FITS_SOME: Final = (
    "That fits {large}, but not {small}, and the pods may get either: choose by "
    "workers.nodeSelector or workers.nodeAffinity, or by the queue."
)
FITS_NONE: Final = "The largest GPU that the pods may get has {gpu}: {lacking} GiB too little."
HOST_LIMIT: Final = (
    "In host memory a pod may take up to {need} GiB ({part}: {largest}), and "
    "workers.resources.limits.memory lets it have {limit}: one that takes more is killed. Raise "
    "the limit, which may be done in place."
)
IN_DOUBT: Final = "The estimate may be too high, so the run goes on."
IS_HELD: Final = (
    "The run is held, and takes no GPUs, until it fits or a larger GPU is there. No autoscaler "
    "makes a node for a run that has no pods: where it would, set runPolicy.roomCheck Warn, with "
    "which the run starts all the same."
)
WAY_IN_PLACE: Final = "It fits with {ways}, which may be changed in place."
WAY_ANEW: Final = "It fits in a new resource with {ways}."
NO_WAY: Final = (
    "No single setting is enough: take larger GPUs, or more of them together with "
    "deepspeed.offload optimizer, and see the page on memory for what else takes less."
)
NEED_NOT_KNOWN: Final = (
    "The operator knows the needs of released teachers only, and {model} is none by its name: name "
    "one of the same architecture in teacher.architecture, or ask python -m sid_trainer estimate."
)
NO_NODE_TELLS: Final = (
    "No node tells its GPUs' memory: NVIDIA's GPU feature discovery sets the label "
    "nvidia.com/gpu.memory."
)
OTHER_GPUS: Final = (
    "The pods ask for {resource}, and nodes tell the memory of a whole nvidia.com/gpu only: "
    "compare it yourself with what one of them has."
)
NO_NODE_OPEN: Final = (
    "None of the nodes that tell their GPUs' memory has workers.gpusPerNode GPUs and is open to "
    "the pods by workers.nodeSelector, workers.nodeAffinity and workers.tolerations."
)
NODES_FORBIDDEN: Final = (
    "The operator may not list nodes, so their GPUs are not known; the chart's roomCheck.enabled "
    "grants it."
)
NODES_NOT_READ: Final = (
    "The operator was told not to read nodes, so their GPUs are not known (the chart's "
    "roomCheck.enabled)."
)

READY: Final = "{ready} of {nodes} pods are ready."
JOB_MISSING: Final = "The Job is about to be created."
JOB_LEAVING: Final = "The pods of the previous Job are still ending."
STRAYS: Final = (
    "Pods of the previous Job that are still ending: {count}, such as {name}{where}. If its node "
    "is gone for good, delete the Node, or taint it with node.kubernetes.io/out-of-service="
    "nodeshutdown:NoExecute. kubectl delete pod --force is for a pod that certainly runs no longer."
)
STRAY_ON: Final = " on node {node}"
LEFTOVERS: Final = "The objects of an earlier resource of this name are still being removed."
IN_QUEUE: Final = "The queue {queue} has not admitted the Job yet."
STILL_CLEANING: Final = (
    "The objects of the deleted resource of this name are still being removed from the bucket, by "
    "Job {name}.{held} What keeps it, if anything does, kubectl describe job tells, and of its pod "
    "kubectl describe pod. To keep what is left in the bucket, and go on, delete the Job."
)
CLEANING_HELD: Final = "It is suspended: the queue {queue} has not admitted it."
POD_END: Final = "The run has ended."
POD_HELD: Final = (
    "The run has ended, but pod {pod} is still held by node {node}, which does not answer: it ends "
    "when the node is back. If the node is gone for good, delete the Node, or taint it with "
    "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute."
)

CREDENTIALS_MISSING: Final = (
    'Secret "{secret}" is not in namespace "{namespace}": create it, or name another in {field}. '
    "The pods start by themselves once it is there."
)
KEY_MISSING: Final = (
    'Secret "{secret}" in namespace "{namespace}" has no key "{key}": add it, or name another '
    "Secret in {field}. The pods start by themselves once it is there."
)
ACCOUNT_MISSING: Final = (
    'ServiceAccount "{account}" is not in namespace "{namespace}": create it, with its role, or '
    "name another in checkpoint.serviceAccountName. The pods are created by themselves once it is "
    "there."
)
PRIORITY_CLASS_MISSING: Final = (
    'The cluster has no PriorityClass "{name}": correct scheduling.priorityClassName (kubectl get '
    "priorityclasses tells which there are), or have it created."
)
RUNTIME_CLASS_MISSING: Final = (
    'The cluster has no RuntimeClass "{name}": correct workers.runtimeClassName (kubectl get '
    "runtimeclasses tells which there are), or have it created."
)
CA_BUNDLE_MISSING: Final = (
    '{kind} "{name}" is not in namespace "{namespace}": create it, or name another in '
    "checkpoint.caBundleRef. The pods start by themselves once it is there."
)
CA_BUNDLE_KEY_MISSING: Final = (
    '{kind} "{name}" in namespace "{namespace}" has no key "{key}": add it, or name another in '
    "checkpoint.caBundleRef. The pods start by themselves once it is there."
)
NO_VOLUME: Final = "A volume of pod {pod} cannot be mounted: {details}"
NO_SANDBOX: Final = "Node {node} cannot set up pod {pod}: {details}. {remedy}"
REMEDY_RUNTIME: Final = (
    'Does the node have what RuntimeClass "{runtime}" asks for? Correct workers.runtimeClassName, '
    "or choose other nodes by workers.nodeSelector; else ask the administrator of the cluster "
    "about the node's network."
)
REMEDY_NODE: Final = (
    "Ask the administrator of the cluster about that node, and its network; the pods start by "
    "themselves."
)
CLAIM_NOT_MADE: Final = (
    "A claim of pod {pod} cannot be made: {details}. Create what is missing, or correct "
    "workers.resourceClaims; the pods start by themselves once it is there."
)
NO_CONTAINER: Final = "The container of pod {pod} cannot be created: {details}"
NO_IMAGE_PULLED: Final = (
    'Image "{image}" cannot be pulled: {details}. Check workers.image and '
    "workers.imagePullSecrets; the resource may be corrected in place."
)
NO_NODE: Final = (
    "No node can take pod {pod}: {details} Check workers.resources, workers.gpusPerNode, "
    "workers.nodeSelector, workers.tolerations and the claims in workers.volumes, or add nodes."
)
GATE_CLOSED: Final = (
    "Pod {pod} is kept from the scheduler by its gate {gates}: what set it there has not let the "
    "pod go. The gate's name tells whom to ask: kueue.x-k8s.io is the queue's."
)
NOT_TAKEN_UP: Final = (
    'The scheduler "{scheduler}" has told nothing of pod {pod} for over a minute: is it installed '
    "in the cluster, and is scheduling.schedulerName its name? That may be corrected in place."
)
OR_THE_CLAIMS: Final = " Or is a ResourceClaim missing that workers.resourceClaims names?"
CLAIM_AWAITED: Final = (
    "The scheduler waits for the claims of pod {pod}: is every ResourceClaim that "
    'workers.resourceClaims names in namespace "{namespace}"? The pods start by themselves once '
    "it is there."
)
NO_PODS: Final = (
    "The pods cannot be created: {details}. Ask the administrator of the namespace about its "
    "quota and Pod Security level."
)

STAGE: Final = {
    "loading": "The teacher is being loaded.",
    "encoding": "The prompts are being encoded.",
    "training": "Iterations are being made.",
    "exporting": "The student is being exported.",
    "done": "The trainer is done.",
}
PODS_NOT_READY: Final = "Waiting for the pods."
AWAITING_REPORT: Final = "All pods are ready; rank 0 has not told its progress yet."
UNHEARD: Final = (
    "All pods are ready, but rank 0 has not answered at port {port} of pod {pod} for "
    "{seconds:.0f} s: training may go on unseen. Check that a NetworkPolicy lets the operator in."
)
POD_KEPT: Final = (
    "The trainer of pod {pod} has {how}, but the pod is kept by a container that goes on: "
    "{containers}. Keep it out by workers.podLabels or workers.podAnnotations, or have it injected "
    "as a native sidecar (an init container that restarts). Corrected in place, the pods are made "
    "anew, and what is trained is kept."
)
ENDED_WELL: Final = "ended well"
ENDED_BADLY: Final = "failed ({reason}: {message})"
PODS_REPLACED: Final = "Pods are being replaced; training goes on from the last checkpoint."
IS_FAILING: Final = "A pod failed in a way that trying again cannot cure; the run is ending."
STANDS_STILL: Final = (
    "No progress since iteration {iteration} for over {minutes:.0f} minutes, far longer than an "
    "iteration took. {what}"
)
WATCHDOG_WAITS: Final = (
    "The trainer's watchdog restarts the pods at the latest after training.watchdogSeconds "
    "({seconds}) without an iteration; delete the pods to restart them now."
)
WATCHDOG_OFF: Final = (
    "training.watchdogSeconds is 0: delete the pods to go on from the last checkpoint."
)
IS_PROGRESSING: Final = "Iterations are being made, or the pods were restarted."
CHECKPOINT_MISSED: Final = (
    "Training goes on, but {problem}. Check the store at checkpoint.endpoint."
)
CHECKPOINT_STORED: Final = "Checkpoints are stored; status.checkpoint is the newest."
CHECKPOINT_LAST: Final = "The run has ended; status.checkpoint is the last one that was stored."
NOT_YET: Final = "Training has not started."
IS_SUSPENDED: Final = "runPolicy.suspend is true: no pods run, and the checkpoints are kept."
IS_SUSPENDING: Final = (
    "runPolicy.suspend is true, but the pods have not been stopped yet; the condition Accepted "
    "tells what is in the way, if anything."
)
NO_PODS_WANTED: Final = "The run is suspended."
IS_RESUMED: Final = "runPolicy.suspend is false."

MADE_SO_FAR: Final = "{made} of {wanted} iterations are made."
GOES_ON: Final = "The run goes on from its last checkpoint, as soon as it gets its nodes."

DONE: Final = "All {iterations} iterations are done; the student is at {uri}."

POD_OUT_OF_MEMORY: Final = (
    "The container was killed for lack of memory (not of the GPU): raise "
    "workers.resources.limits.memory."
)
POD_EVICTED: Final = (
    "The pod was evicted from node {node}: {details}. That does not count against "
    "runPolicy.backoffLimit; training goes on from the last checkpoint as soon as a node has room."
)
POD_PREEMPTED: Final = (
    "The pod had to make room on node {node} for one of higher priority: {details}. That does not "
    "count against runPolicy.backoffLimit; training goes on from the last checkpoint as soon as "
    "there is room. scheduling.priorityClassName says who yields to whom."
)
POD_NODE_GONE: Final = (
    "Node {node} is gone: {details}. That does not count against runPolicy.backoffLimit; training "
    "goes on from the last checkpoint as soon as another node has room."
)
NODE_SILENT: Final = (
    "Node {node} of pod {pod} does not answer. The run goes on when it is back. If it is gone for "
    "good, delete the Node, or taint it with node.kubernetes.io/out-of-service=nodeshutdown:"
    "NoExecute: only then is it certain that the pod no longer runs, and it is replaced."
)
POD_CANNOT_START: Final = (
    "The container could not start: {details}. Is workers.image an image of the trainer?"
)
POD_EXITED: Final = "The trainer ended with exit code {code}. {details}"
BACKOFF_EXCEEDED: Final = (
    "A pod failed more often than runPolicy.backoffLimit ({limit}) allows. Last cause: {cause}"
)
DEADLINE_EXCEEDED: Final = (
    "The run did not finish within runPolicy.activeDeadlineSeconds ({seconds}). Its checkpoints "
    "are kept."
)
UNKNOWN_CAUSE: Final = "no pod told why."

CREATED: Final = "Created Job {name} with {nodes} {pods}."
RESTORED: Final = "{kind} {name} was missing and is created again."
SPEC_CHANGED: Final = (
    "The pods are replaced because the spec changed; training goes on from the last checkpoint."
)
CLEANING_UP: Final = "The run's folder is being removed from the bucket (deletionPolicy Delete)."
NOT_CLEANED: Final = (
    "The run's folder could not be removed from the bucket, or not all of it: {details} See the "
    "log of Job {name} while it is there; what is left is to be removed by hand."
)
CLEANING_WAITS: Final = (
    "The run's folder stays in the bucket (deletionPolicy Delete) as long as Job {name} is there, "
    "which was left without its resource and may go on training: delete the Job, and the folder is "
    "removed."
)
CLEANING_COPIED: Final = (
    "Clean-up Job {name} is a copy, as a backup brings it back, of one that was made for another "
    "resource of this name: it is deleted, and no folder is removed."
)
CLEANING_UNSURE: Final = (
    "Clean-up Job {name} may have been made for the resource that is gone, or be a copy, as a "
    "backup brings it back; it does not tell which. It is deleted, and the run's folder stays in "
    "the bucket: remove it by hand if no run needs it."
)
EXPIRED: Final = (
    "The resource is deleted, as it ended more than runPolicy.ttlSecondsAfterFinished ({seconds}) "
    "seconds ago; what it wrote stays in the bucket."
)
POLICY_CHANGED: Final = "The changed runPolicy is applied to the Job."

EXIT_CODE_MESSAGES: Final = {
    FailureReason.INVALID_CONFIGURATION: "The configuration was refused by the trainer.",
    FailureReason.INVALID_DATA: "The training data cannot be used.",
    FailureReason.NOT_FOUND: "The teacher, the prompts or the bucket is not there.",
    FailureReason.NUMERICAL_ERROR: "Training ran into NaN or infinity.",
    FailureReason.OUT_OF_MEMORY: "The GPU's memory is too small: lower training.microBatchSize.",
    FailureReason.ACCESS_DENIED: "The credentials were refused: check checkpoint.secretRef, or the "
    "role of checkpoint.serviceAccountName, and teacher.tokenSecretRef.",
    FailureReason.STORAGE_UNAVAILABLE: "The storage did not answer: check checkpoint.endpoint.",
    FailureReason.PEER_LOST: "Another process of the run was lost.",
    FailureReason.STALLED: "A process of the run hangs: see the logs of all pods for its stack.",
    FailureReason.TERMINATED: "The pod was asked to end.",
}
"""What an exit code means, where the pod left no words."""

PHASE_EVENTS: Final = {
    "Queued": "The Job waits to be admitted.",
    "Starting": "All pods have a node and are starting.",
    "Running": "Training is running.",
    "Restarting": "Pods failed or were lost; training goes on from the last checkpoint.",
    "Suspended": "The run is suspended; its checkpoints are kept.",
}
