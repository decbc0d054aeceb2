{{/* Names and labels. A component is gateway, publisher or valkey: (dict "root" $ "component" …). */}}

{{- define "clarion.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 36 | trimSuffix "-" -}}
{{- end }}

{{/* 36 characters at most: "-publisher" and the suffix of its pods fit into the 63 of a host name. */}}
{{- define "clarion.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 36 | trimSuffix "-" -}}
{{- else if contains (include "clarion.name" .) .Release.Name -}}
{{- .Release.Name | trunc 36 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "clarion.name" .) | trunc 36 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "clarion.component" -}}
{{ include "clarion.fullname" .root }}-{{ .component }}
{{- end }}

{{- define "clarion.serviceAccount" -}}
{{- $values := (index .root.Values .component).serviceAccount -}}
{{- if $values.create -}}
{{ $values.name | default (include "clarion.component" .) }}
{{- else -}}
{{ $values.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "clarion.selector" -}}
app.kubernetes.io/name: {{ include "clarion.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Of pods: nothing that changes with the chart's version alone, which would roll every pod. */}}
{{- define "clarion.podLabels" -}}
{{ include "clarion.selector" . }}
app.kubernetes.io/part-of: clarion
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "clarion.labels" -}}
{{ include "clarion.podLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "clarion.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}
