{{/* The Services of a component: (dict "root" $ "component" "gateway"). */}}

{{/* The public Service, and one of the internal port alone, which no ingress or load balancer gets. */}}
{{- define "clarion.services" -}}
{{- $values := (index .root.Values .component).service -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
  {{- with $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $values.type }}
  {{- include "clarion.ipFamilies" $values }}
  {{- with $values.externalTrafficPolicy }}
  externalTrafficPolicy: {{ . }}
  {{- end }}
  {{- with $values.trafficDistribution }}
  trafficDistribution: {{ . }}
  {{- end }}
  {{- with $values.loadBalancerClass }}
  loadBalancerClass: {{ . }}
  {{- end }}
  {{- with $values.loadBalancerSourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  selector:
    {{- include "clarion.selector" . | nindent 4 }}
  ports:
    - name: public
      port: {{ $values.port }}
      targetPort: public
      {{- with $values.nodePort }}
      nodePort: {{ . }}
      {{- end }}
      {{- with $values.appProtocol }}
      appProtocol: {{ . }}
      {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "clarion.component" . }}-internal
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  clusterIP: None
  {{- include "clarion.ipFamilies" $values }}
  selector:
    {{- include "clarion.selector" . | nindent 4 }}
  ports:
    - name: internal
      port: {{ include "clarion.internalPort" . }}
      targetPort: internal
{{- end }}

{{- define "clarion.ipFamilies" -}}
{{- with .ipFamilyPolicy }}
  ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .ipFamilies }}
  ipFamilies:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}
