{{- define "sid-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sid-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sid-operator.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sid-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sid-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sid-operator.labels" -}}
{{ include "sid-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: controller
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sid-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sid-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Reference of an image: dict "image" VALUES "tag" DEFAULT */}}
{{- define "sid-operator.image" -}}
{{- $name := .image.repository -}}
{{- with .image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- printf "%s:%s" $name (.image.tag | default .tag) -}}
{{- end -}}

{{/* Alert rules; where Prometheus scrapes by the ServiceMonitor, about the operator of this release alone. */}}
{{- define "sid-operator.alerts" -}}
{{- $rules := .Files.Get "files/alerts.yaml" -}}
{{- if .Values.metrics.serviceMonitor.enabled -}}
{{- $own := printf "namespace=%q,service=%q" .Release.Namespace (printf "%s-metrics" (include "sid-operator.fullname" .)) -}}
{{- $rules = regexReplaceAll "(sid_operator_[a-z_]+)[{]" $rules (printf "${1}{%s," $own) -}}
{{- $rules = regexReplaceAll "(sid_operator_[a-z_]+)([^a-z_{])" $rules (printf "${1}{%s}${2}" $own) -}}
{{- end -}}
{{- $rules -}}
{{- end -}}

{{/* Selector of the pods that train, of whatever run. */}}
{{- define "sid-operator.trainingPods" -}}
matchLabels:
  app.kubernetes.io/name: sid-trainer
matchExpressions:
  - {key: sid-dit.dev/distillation, operator: Exists}
{{- end -}}

{{/* Whether the operator reads nodes: never where it is confined to a namespace. */}}
{{- define "sid-operator.readsNodes" -}}
{{- and .Values.roomCheck.enabled (empty .Values.watchNamespace) -}}
{{- end -}}
