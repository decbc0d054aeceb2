{{/* From values to environment variables. */}}

{{/* A setting's text. Helm reads numbers of values.yaml as floats: 1048576 would be 1.048576e+06. */}}
{{- define "clarion.scalar" -}}
{{- if kindIs "slice" . -}}
{{ toJson . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ int64 . }}
{{- else -}}
{{ toString . }}
{{- end -}}
{{- end }}

{{/* A component's settings as a map of YAML, its own before the shared ones. */}}
{{- define "clarion.settings" -}}
{{- $values := index .root.Values .component -}}
{{- range $name, $value := merge (dict) $values.settings .root.Values.settings }}
{{ $name }}: {{ include "clarion.scalar" $value | quote }}
{{- end }}
{{- $auth := fromYaml (include "clarion.auth" .) }}
{{- with $auth.publicKey }}
CLARION_JWT_PUBLIC_KEY: {{ . | quote }}
{{- end }}
{{- with $auth.jwksUrl }}
CLARION_JWT_JWKS_URL: {{ . | quote }}
{{- end }}
{{- with .root.Values.topicRules }}
CLARION_TOPIC_RULES: {{ dict "topics" . | toJson | quote }}
{{- end }}
{{- if include "clarion.catalogueConfigMap" .root }}
CLARION_CATALOGUE: /catalogue
{{- end }}
{{- if eq .component "gateway" }}
{{- with $values.handlers.name }}
GATEWAY_HANDLERS: {{ . | quote }}
{{- end }}
{{- if include "clarion.handlersConfigMap" .root }}
PYTHONPATH: /handlers
{{- end }}
{{- with $values.upstream.url }}
{{- if not $values.upstream.existingSecret.name }}{{ fail "expected gateway.upstream.existingSecret.name beside gateway.upstream.url: requests are signed" }}{{ end }}
GATEWAY_UPSTREAM_URL: {{ . | quote }}
{{- end }}
{{- if $values.podDeletionCost.enabled }}
GATEWAY_POD_DELETION_COST: "true"
{{- end }}
{{- end }}
{{- with .root.Values.otlp }}
{{- with .endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- range $name, $value := .settings }}
{{ $name }}: {{ include "clarion.scalar" $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The beginning of all public paths of a component, without the last slash. */}}
{{- define "clarion.pathPrefix" -}}
{{- $settings := fromYaml (include "clarion.settings" .) -}}
{{ trimSuffix "/" (get $settings (printf "%s_PATH_PREFIX" (upper .component))) }}
{{- end }}

{{/* The path at which a load balancer gets a 200 from a component's public port. */}}
{{- define "clarion.healthPath" -}}
{{- $settings := fromYaml (include "clarion.settings" .) -}}
{{- $path := get $settings (printf "%s_HEALTH_PATH" (upper .component)) | default "/health" -}}
{{ include "clarion.pathPrefix" . }}{{ $path }}
{{- end }}

{{/* The auth that a component uses: its own if there is anything in it, or the shared one. */}}
{{- define "clarion.auth" -}}
{{- $own := (index .root.Values .component).auth -}}
{{- $auth := .root.Values.auth -}}
{{- if $own }}{{ $auth = $own }}{{ end -}}
{{- $existing := $auth.existingSecret | default dict -}}
{{- $given := list -}}
{{- if or $auth.secret $existing.name }}{{ $given = append $given "secret" }}{{ end -}}
{{- if $auth.publicKey }}{{ $given = append $given "publicKey" }}{{ end -}}
{{- if $auth.jwksUrl }}{{ $given = append $given "jwksUrl" }}{{ end -}}
{{- if ne (len $given) 1 -}}
{{- fail (printf "%s: expected exactly one of auth.secret (or auth.existingSecret.name), auth.publicKey and auth.jwksUrl; got %s. To try out: --set auth.secret=$(openssl rand -hex 32)" .component (join " and " $given | default "none")) -}}
{{- end -}}
{{ toYaml $auth }}
{{- end }}

{{/* The Secret and key of a component's shared secret, or nothing. */}}
{{- define "clarion.jwtSecret" -}}
{{- $auth := fromYaml (include "clarion.auth" .) -}}
{{- $existing := $auth.existingSecret | default dict -}}
{{- if $existing.name }}
name: {{ $existing.name }}
key: {{ $existing.key | default "jwt-secret" }}
{{- else if $auth.secret }}
name: {{ include "clarion.component" . }}
key: jwt-secret
{{- end }}
{{- end }}

{{- define "clarion.redisUrl" -}}
{{- $redis := .Values.redis -}}
{{- $given := list -}}
{{- if $redis.url }}{{ $given = append $given "redis.url" }}{{ end -}}
{{- if $redis.existingSecret.name }}{{ $given = append $given "redis.existingSecret" }}{{ end -}}
{{- if $redis.valkey.enabled }}{{ $given = append $given "redis.valkey" }}{{ end -}}
{{- if ne (len $given) 1 -}}
{{- fail (printf "expected exactly one of redis.url, redis.existingSecret.name and redis.valkey.enabled; got %s. To try out: --set redis.valkey.enabled=true" (join " and " $given | default "none")) -}}
{{- end -}}
{{- if and $redis.valkey.enabled $redis.login.existingSecret.name -}}
{{- fail "expected redis.login.existingSecret beside redis.url or redis.existingSecret; the bundled Valkey has redis.valkey.password" -}}
{{- end -}}
{{- if $redis.valkey.enabled -}}
redis://{{ with $redis.valkey.password }}:{{ . }}@{{ end }}{{ include "clarion.fullname" . }}-valkey:6379/0
{{- else -}}
{{ $redis.url }}
{{- end -}}
{{- end }}

{{- define "clarion.env" -}}
{{ include "clarion.ownEnv" . }}
{{- with (index .root.Values .component).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Variables whose values stand in Secrets or are the pod's own. */}}
{{- define "clarion.ownEnv" -}}
- name: CLARION_POD
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- if eq .component "gateway" }}
- name: GATEWAY_POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end }}
- name: CLARION_REDIS_URL
  valueFrom:
    secretKeyRef:
      {{- with .root.Values.redis.existingSecret }}
      name: {{ .name | default (include "clarion.component" $) }}
      key: {{ ternary .key "redis-url" (not (empty .name)) }}
      {{- end }}
{{- with .root.Values.redis.login.existingSecret }}
{{- if .name }}
{{- range $variable, $key := dict "CLARION_REDIS_USERNAME" .usernameKey "CLARION_REDIS_PASSWORD" .passwordKey }}
{{- if $key }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $.root.Values.redis.login.existingSecret.name }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .component "publisher" }}
{{- include "clarion.outboxEnv" . }}
{{- include "clarion.socketioEnv" . }}
{{- end }}
{{- with fromYaml (include "clarion.jwtSecret" .) }}
- name: CLARION_JWT_SECRET
  valueFrom:
    secretKeyRef:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- if and (eq .component "gateway") .root.Values.gateway.upstream.url }}
- name: GATEWAY_UPSTREAM_SECRET
  valueFrom:
    secretKeyRef:
      {{- toYaml .root.Values.gateway.upstream.existingSecret | nindent 6 }}
{{- end }}
{{- with .root.Values.otlp.headersSecret }}
{{- if .name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{/* The variables of the publishers' outbox, or nothing. */}}
{{- define "clarion.outboxEnv" -}}
{{- $outbox := .root.Values.publisher.outbox -}}
{{- if and $outbox.url $outbox.existingSecret.name -}}
{{- fail "expected either publisher.outbox.url or publisher.outbox.existingSecret.name, got both" -}}
{{- end -}}
{{- if and $outbox.login.existingSecret.name (not (or $outbox.url $outbox.existingSecret.name)) -}}
{{- fail "expected publisher.outbox.url or publisher.outbox.existingSecret.name beside publisher.outbox.login.existingSecret.name" -}}
{{- end -}}
{{- if or $outbox.url $outbox.existingSecret.name }}
- name: PUBLISHER_OUTBOX_URL
  valueFrom:
    secretKeyRef:
      name: {{ $outbox.existingSecret.name | default (include "clarion.component" .) }}
      key: {{ ternary $outbox.existingSecret.key "outbox-url" (not (empty $outbox.existingSecret.name)) }}
{{- with $outbox.login.existingSecret }}
{{- if .name }}
{{- $name := .name }}
{{- range $variable, $key := dict "PUBLISHER_OUTBOX_USERNAME" .usernameKey "PUBLISHER_OUTBOX_PASSWORD" .passwordKey }}
{{- if $key }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $name }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{/* The variable of the Redis of Socket.IO's producers, or nothing. */}}
{{- define "clarion.socketioEnv" -}}
{{- $socketio := .root.Values.publisher.socketio -}}
{{- if and $socketio.url $socketio.existingSecret.name -}}
{{- fail "expected either publisher.socketio.url or publisher.socketio.existingSecret.name, got both" -}}
{{- end -}}
{{- if or $socketio.url $socketio.existingSecret.name }}
- name: PUBLISHER_SOCKETIO_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ $socketio.existingSecret.name | default (include "clarion.component" .) }}
      key: {{ ternary $socketio.existingSecret.key "socketio-redis-url" (not (empty $socketio.existingSecret.name)) }}
{{- end }}
{{- end }}

{{/* What the chart's own Secret for a component holds; nothing: no Secret is made. */}}
{{- define "clarion.secretData" -}}
{{- with include "clarion.redisUrl" .root }}
redis-url: {{ . | quote }}
{{- end }}
{{- if eq .component "publisher" }}
{{- with .root.Values.publisher.outbox.url }}
outbox-url: {{ . | quote }}
{{- end }}
{{- with .root.Values.publisher.socketio.url }}
socketio-redis-url: {{ . | quote }}
{{- end }}
{{- end }}
{{- $auth := fromYaml (include "clarion.auth" .) -}}
{{- if and $auth.secret (not ($auth.existingSecret | default dict).name) }}
jwt-secret: {{ $auth.secret | quote }}
{{- end }}
{{- end }}

{{/* The ConfigMap with the handlers' files, or nothing. */}}
{{- define "clarion.handlersConfigMap" -}}
{{- $handlers := .Values.gateway.handlers -}}
{{- if or $handlers.files $handlers.existingConfigMap -}}
{{- if and $handlers.files $handlers.existingConfigMap }}{{ fail "expected either gateway.handlers.files or gateway.handlers.existingConfigMap, got both" }}{{ end -}}
{{- if not $handlers.name }}{{ fail "expected gateway.handlers.name beside the handlers' files, e.g. chat:handlers" }}{{ end -}}
{{ $handlers.existingConfigMap | default (printf "%s-handlers" (include "clarion.fullname" .)) }}
{{- end -}}
{{- end }}

{{/* The ConfigMap with the catalogue's files, or nothing. */}}
{{- define "clarion.catalogueConfigMap" -}}
{{- $catalogue := .Values.catalogue -}}
{{- if or $catalogue.files $catalogue.existingConfigMap -}}
{{- if and $catalogue.files $catalogue.existingConfigMap }}{{ fail "expected either catalogue.files or catalogue.existingConfigMap, got both" }}{{ end -}}
{{ $catalogue.existingConfigMap | default (printf "%s-catalogue" (include "clarion.fullname" .)) }}
{{- end -}}
{{- end }}

{{- define "clarion.port" -}}
{{- index (index .root.Values .component).settings (printf "%s_PORT" (upper .component)) | int -}}
{{- end }}

{{- define "clarion.internalPort" -}}
{{- index (index .root.Values .component).settings (printf "%s_INTERNAL_PORT" (upper .component)) | int -}}
{{- end }}

{{/* Seconds from SIGTERM to SIGKILL: the drain's times, rounded up, and the margin. */}}
{{- define "clarion.graceSeconds" -}}
{{- $values := index .root.Values .component -}}
{{- $sum := 0.0 -}}
{{- range $part := ternary (list "PAUSE" "SPREAD" "GRACE") (list "PAUSE" "GRACE") (eq .component "gateway") -}}
{{- $name := printf "%s_DRAIN_%s_SECONDS" (upper $.component) $part -}}
{{- $sum = addf $sum (required (printf "%s.settings.%s is needed: the termination grace period is derived from it" $.component $name) (toString (index $values.settings $name))) -}}
{{- end -}}
{{- add (ceil $sum | int64) (int64 $values.terminationMarginSeconds) -}}
{{- end }}

{{/* Connections per pod that autoscaling aims at. */}}
{{- define "clarion.targetConnections" -}}
{{- $gateway := .Values.gateway -}}
{{- div (mul (int64 (index $gateway.settings "GATEWAY_MAX_CONNECTIONS")) (int64 $gateway.autoscaling.connections.targetPercent)) 100 | max 1 -}}
{{- end }}
