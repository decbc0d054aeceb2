{{/* What the schema cannot see: values that contradict one another. */}}

{{/* Of one component: (dict "root" $ "component" "gateway"). */}}
{{- define "clarion.checks" -}}
{{- $component := .component -}}
{{- $values := index .root.Values $component -}}
{{- if eq (include "clarion.port" .) (include "clarion.internalPort" .) -}}
{{- fail (printf "expected %s.settings.%s_PORT and %s_INTERNAL_PORT to differ, got %s for both" $component (upper $component) (upper $component) (include "clarion.port" .)) -}}
{{- end -}}
{{- include "clarion.checkResources" (dict "path" (printf "%s.resources" $component) "resources" $values.resources) -}}
{{- if le (int $values.rollout.progressDeadlineSeconds) (int $values.rollout.minReadySeconds) -}}
{{- fail (printf "expected %s.rollout.progressDeadlineSeconds to be above minReadySeconds, got %v and %v" $component $values.rollout.progressDeadlineSeconds $values.rollout.minReadySeconds) -}}
{{- end -}}
{{- if and $values.service.nodePort (eq $values.service.type "ClusterIP") -}}
{{- fail (printf "expected %s.service.type NodePort or LoadBalancer beside %s.service.nodePort" $component $component) -}}
{{- end -}}
{{- $set := keys (fromYaml (include "clarion.settings" .)) -}}
{{- range fromYamlArray (include "clarion.ownEnv" .) }}{{ $set = append $set .name }}{{ end -}}
{{- range $values.extraEnv -}}
{{- if has .name $set -}}
{{- fail (printf "%s.extraEnv sets %s, which the chart sets already: use %s.settings or the value that the chart's README names" $component .name $component) -}}
{{- end -}}
{{- end -}}
{{- range concat $values.extraContainers $values.extraInitContainers -}}
{{- if eq .name $component -}}
{{- fail (printf "expected another name than %s for an extra container of %s" .name $component) -}}
{{- end -}}
{{- end -}}
{{- range $values.extraVolumes -}}
{{- if has .name (list "tmp" "catalogue" "handlers" "service-account") -}}
{{- fail (printf "expected another name than %s in %s.extraVolumes: the chart has a volume of this name" .name $component) -}}
{{- end -}}
{{- end -}}
{{- range $values.extraVolumeMounts -}}
{{- if has (trimSuffix "/" .mountPath) (list "/tmp" "/catalogue" "/handlers" "/var/run/secrets/kubernetes.io/serviceaccount") -}}
{{- fail (printf "expected another path than %s in %s.extraVolumeMounts: the chart mounts a volume there" .mountPath $component) -}}
{{- end -}}
{{- end -}}
{{- if eq $component "publisher" -}}
{{- with $values.resources.limits.memory -}}
{{- $bodies := index $values.settings "PUBLISHER_BODIES_MAX_BYTES" -}}
{{- if gt (mulf $bodies 1000) (float64 (include "clarion.quantity" .)) -}}
{{- fail (printf "expected publisher.resources.limits.memory to be above PUBLISHER_BODIES_MAX_BYTES, got %v and %s" . (include "clarion.scalar" $bodies)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Kubernetes refuses requests above limits, but only when it makes the pod. */}}
{{- define "clarion.checkResources" -}}
{{- $limits := .resources.limits | default dict -}}
{{- range $name, $request := .resources.requests -}}
{{- with index $limits $name -}}
{{- if gt (float64 (include "clarion.quantity" $request)) (float64 (include "clarion.quantity" .)) -}}
{{- fail (printf "expected %s.requests.%s to be at most the limit, got %v and %v" $.path $name $request .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A quantity of Kubernetes (500m, 1Gi, 1e9) in thousandths. */}}
{{- define "clarion.quantity" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+([eE][+]?[0-9]+)?" $text -}}
{{- $factors := dict "" 1e3 "m" 1.0 "k" 1e6 "M" 1e9 "G" 1e12 "T" 1e15 "P" 1e18 "E" 1e21 "Ki" 1024e3 "Mi" 1048576e3 "Gi" 1073741824e3 "Ti" 1099511627776e3 "Pi" 1125899906842624e3 "Ei" 1152921504606846976e3 -}}
{{- mulf (float64 $number) (get $factors (trimPrefix $number $text)) -}}
{{- end }}

{{/* Of Prometheus' operator: a scrape must end before the next one begins. */}}
{{- define "clarion.checkMonitor" -}}
{{- if gt (float64 (include "clarion.seconds" .monitor.scrapeTimeout)) (float64 (include "clarion.seconds" .monitor.interval)) -}}
{{- fail (printf "expected metrics.%s.scrapeTimeout to be at most the interval, got %s and %s" .name .monitor.scrapeTimeout .monitor.interval) -}}
{{- end -}}
{{- end }}

{{/* A duration such as 1m30s in seconds. */}}
{{- define "clarion.seconds" -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $sum = addf $sum (mulf (trimSuffix $unit .) (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) $unit)) -}}
{{- end -}}
{{ $sum }}
{{- end }}

{{/* Of the bundled Valkey. It counts in 1,024s with a b, and in thousands without. */}}
{{- define "clarion.checkValkey" -}}
{{- $valkey := .Values.redis.valkey -}}
{{- include "clarion.checkResources" (dict "path" "redis.valkey.resources" "resources" $valkey.resources) -}}
{{- with ($valkey.resources.limits | default dict).memory -}}
{{- $number := regexFind "^[0-9]+" $valkey.maxMemory -}}
{{- $factor := get (dict "" 1.0 "b" 1.0 "k" 1e3 "kb" 1024.0 "m" 1e6 "mb" 1048576.0 "g" 1e9 "gb" 1073741824.0) (trimPrefix $number $valkey.maxMemory | lower) -}}
{{- if ge (mulf $number $factor 1000) (float64 (include "clarion.quantity" .)) -}}
{{- fail (printf "expected redis.valkey.maxMemory to be below redis.valkey.resources.limits.memory, got %s and %v" $valkey.maxMemory .) -}}
{{- end -}}
{{- end -}}
{{- end }}
