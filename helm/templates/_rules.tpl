{{/*
What the operator may do in a namespace whose jobs it runs. The same list stands in the operator's own
code (dev.perigee.operator.Rights); a test holds the two together.
*/}}
{{- define "perigee.rules" -}}
- apiGroups: [perigee.dev]
  resources: [pretrainjobs]
  # Deleted when ttlSecondsAfterFinished has passed.
  verbs: [get, list, watch, delete]
# Server-side apply of the status, never of the spec.
- apiGroups: [perigee.dev]
  resources: [pretrainjobs/status]
  verbs: [patch]
# Clusters that enforce it ask this of whoever sets blockOwnerDeletion.
- apiGroups: [perigee.dev]
  resources: [pretrainjobs/finalizers]
  verbs: [update]
# Patched when a restart keeps them: which start they belong to.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create, patch, delete]
# Server-side apply creates what is absent, which needs both.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch]
# Read of a pod that takes long to start: only they say why.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
# One for each gang, where the installation closes gangs to others.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch]
# What stands for a gang at its scheduler: ours to make, and to read whose it is; or Kueue's own to give back, and to read
# why it waits.
- apiGroups: [scheduling.k8s.io]
  resources: [podgroups]
  verbs: [get, create, delete]
- apiGroups: [scheduling.volcano.sh]
  resources: [podgroups]
  verbs: [get, create, delete]
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [get, delete]
{{- end }}
