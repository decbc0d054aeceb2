{{/* What a component's pods are given: ConfigMap, Secret, service account: (dict "root" $ "component" "gateway"). */}}

{{- define "clarion.configuration" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
data:
  {{- include "clarion.settings" . | trim | nindent 2 }}
{{- with include "clarion.secretData" . }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ include "clarion.component" $ }}
  labels:
    {{- include "clarion.labels" $ | nindent 4 }}
type: Opaque
stringData:
  {{- . | trim | nindent 2 }}
{{- end }}
{{- end }}

{{- define "clarion.serviceAccountObject" -}}
{{- $values := (index .root.Values .component).serviceAccount -}}
{{- if $values.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "clarion.serviceAccount" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
  {{- with $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end }}
