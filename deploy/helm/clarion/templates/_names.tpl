{{/* Names and labels. A component is gateway, publisher or valkey: (dict "root" $ "component" …). */}}

{{- define "clarion.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 36 | trimSuffix "-" -}}
{{- end }}

{{/* 36 characters at most: "-publisher" and the suffix of its pods fit into the 63 of a host name. A longer
     name ends in a hash of the whole, so that two long names that begin alike stay two. */}}
{{- define "clarion.fullname" -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- $name := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name)) -}}
{{- if gt (len $name) 36 -}}
{{- printf "%s-%s" ($name | trunc 27 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name -}}
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

{{/* An image: (dict "root" $ "image" … "tag" …). global.imageRegistry replaces the registry of its repository,
     or comes before a repository without one. */}}
{{- define "clarion.imageOf" -}}
{{- $repository := .image.repository -}}
{{- with (.root.Values.global | default dict).imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{ $repository }}{{ ternary (print "@" .image.digest) (print ":" .tag) (not (empty .image.digest)) }}
{{- end }}

{{- define "clarion.image" -}}
{{ include "clarion.imageOf" (dict "root" . "image" .Values.image "tag" (.Values.image.tag | default .Chart.AppVersion)) }}
{{- end }}

{{/* imagePullSecrets of a pod: the chart's own, and those of a parent chart, which are names or objects. */}}
{{- define "clarion.pullSecrets" -}}
{{- $secrets := .Values.image.pullSecrets -}}
{{- range (.Values.global | default dict).imagePullSecrets -}}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- with $secrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}
