{{/* The ways from outside to a component: (dict "root" $ "component" "gateway"). */}}

{{/* For how many seconds a proxy must let a connection be silent: two pings and a margin. A client of a lost
     node is told by its proxy after this time. */}}
{{- define "clarion.proxyTimeoutSeconds" -}}
{{- $ping := index .Values.gateway.settings "GATEWAY_PING_INTERVAL_SECONDS" | default 25 -}}
{{- add (mulf $ping 2 | ceil | int) 10 -}}
{{- end }}

{{- define "clarion.ingress" -}}
{{- $values := (index .root.Values .component).ingress -}}
{{- if $values.enabled -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
    {{- with $values.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.annotations }}
  annotations:
    {{- tpl (toYaml .) $.root | nindent 4 }}
  {{- end }}
spec:
  {{- with $values.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with $values.tlsSecretName }}
  tls:
    - secretName: {{ . }}
      hosts:
        {{- toYaml $values.hosts | nindent 8 }}
  {{- end }}
  rules:
    {{- if not $values.hosts }}{{ fail (printf "expected %s.ingress.hosts to name a host" .component) }}{{ end }}
    {{- range $values.hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          {{- range $values.paths }}
          - path: {{ include "clarion.pathPrefix" $ }}{{ . }}
            pathType: {{ $values.pathType }}
            backend:
              service:
                name: {{ include "clarion.component" $ }}
                port:
                  name: public
          {{- end }}
    {{- end }}
{{- end }}
{{- end }}

{{- define "clarion.httpRoute" -}}
{{- $values := (index .root.Values .component).httpRoute -}}
{{- if $values.enabled -}}
{{- if not $values.parentRefs }}{{ fail (printf "expected %s.httpRoute.parentRefs to name a Gateway" .component) }}{{ end -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
    {{- with $values.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.annotations }}
  annotations:
    {{- tpl (toYaml .) $.root | nindent 4 }}
  {{- end }}
spec:
  parentRefs:
    {{- toYaml $values.parentRefs | nindent 4 }}
  {{- with $values.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        {{- range $values.paths }}
        - path:
            type: PathPrefix
            value: {{ include "clarion.pathPrefix" $ }}{{ . }}
        {{- end }}
      {{- with $values.requestTimeout }}
      timeouts:
        request: {{ . }}
      {{- end }}
      backendRefs:
        - name: {{ include "clarion.component" . }}
          port: {{ (index .root.Values .component).service.port }}
{{- end }}
{{- end }}
