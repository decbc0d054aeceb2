{{/* How many pods a component has: (dict "root" $ "component" "gateway"). */}}

{{/* The number that a Deployment asks for, as {"replicas": …, "left": …}. Kubernetes takes a number that is
     missing, or that helm no longer writes, for one pod.
     An autoscaler owns the number: what runs stays, and a first install begins with minReplicas. 0 means
     that somebody has switched the autoscaler off for a while. Without "replicas", nothing is written: helm 4
     applies on the server, where the number is no longer helm's once an autoscaler has changed it. Writing
     it would then be a conflict whenever the autoscaler is faster, and after a roll-back.
     An autoscaler has just been disabled: what runs stays until somebody changes `replicas`, and `left`
     is the value of `replicas` that this holds for. */}}
{{- define "clarion.replicas" -}}
{{- $values := index .root.Values .component -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $name := include "clarion.component" . -}}
{{- $deployment := lookup "apps/v1" "Deployment" $namespace $name -}}
{{- $running := dig "spec" "replicas" 0 $deployment | int -}}
{{- $left := dig "metadata" "annotations" "clarion/replicas-of-autoscaler" "" $deployment -}}
{{- $scaled := false -}}
{{- range list $name (printf "keda-hpa-%s" $name) -}}
{{- if lookup "autoscaling/v2" "HorizontalPodAutoscaler" $namespace . }}{{ $scaled = true }}{{ end -}}
{{- end -}}
{{- $asked := int $values.replicas -}}
{{- if and $values.autoscaling.enabled (include "clarion.replicasAreOthers" $deployment) -}}
{{- dict | toJson -}}
{{- else if $values.autoscaling.enabled -}}
{{- $paused := and $deployment $scaled (eq $running 0) -}}
{{- dict "replicas" (ternary 0 (max $running (int $values.autoscaling.minReplicas)) (not (empty $paused))) | toJson -}}
{{- else if and (gt $running $asked) (or $scaled (eq $left (toString $asked))) -}}
{{- dict "replicas" $running "left" (toString $asked) | toJson -}}
{{- else -}}
{{- dict "replicas" $asked | toJson -}}
{{- end -}}
{{- end }}

{{/* Whether helm applies this Deployment on the server, and somebody else has set its number of pods. */}}
{{- define "clarion.replicasAreOthers" -}}
{{- $applied := false -}}
{{- $others := false -}}
{{- range dig "metadata" "managedFields" list . -}}
{{- if and (eq .manager "helm") (eq .operation "Apply") -}}
{{- $applied = true -}}
{{- else if hasKey (dig "fieldsV1" "f:spec" dict .) "f:replicas" -}}
{{- $others = true -}}
{{- end -}}
{{- end -}}
{{- if and $applied $others }}true{{ end -}}
{{- end }}

{{- define "clarion.pdb" -}}
{{- $values := (index .root.Values .component).pdb -}}
{{- if $values.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ $values.maxUnavailable }}
  # A pod that is not ready serves nobody: it must not hold up a node's drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "clarion.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{- define "clarion.scalingBehavior" -}}
{{- $values := (index .root.Values .component).autoscaling -}}
{{- if gt (int $values.minReplicas) (int $values.maxReplicas) }}{{ fail (printf "expected %s.autoscaling.minReplicas to be at most maxReplicas, got %v and %v" .component $values.minReplicas $values.maxReplicas) }}{{ end -}}
scaleUp:
  stabilizationWindowSeconds: {{ $values.scaleUp.stabilizationSeconds }}
  selectPolicy: Max
  policies:
    - type: Pods
      value: {{ $values.scaleUp.pods }}
      periodSeconds: 15
    - type: Percent
      value: {{ $values.scaleUp.percent }}
      periodSeconds: 15
scaleDown:
  stabilizationWindowSeconds: {{ $values.scaleDown.stabilizationSeconds }}
  policies:
    - type: Pods
      value: {{ $values.scaleDown.pods }}
      # The next pod goes when the one before has gone; 1800 is the most that an HPA takes.
      periodSeconds: {{ min 1800 (max $values.scaleDown.periodSeconds (include "clarion.graceSeconds" . | int)) }}
{{- end }}

{{- define "clarion.hpa" -}}
{{- $values := (index .root.Values .component).autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "clarion.component" . }}
  minReplicas: {{ $values.minReplicas }}
  maxReplicas: {{ $values.maxReplicas }}
  metrics:
    # Of the component's own container: a sidecar without a request would make the pod's share unknown.
    - type: ContainerResource
      containerResource:
        container: {{ .component }}
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ $values.cpu.targetPercent }}
    {{- if and (eq .component "gateway") $values.connections.enabled }}
    - type: Pods
      pods:
        metric:
          name: clarion_connections
        target:
          type: AverageValue
          averageValue: {{ include "clarion.targetConnections" .root | quote }}
    {{- end }}
    {{- with $values.extraMetrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  behavior:
    {{- include "clarion.scalingBehavior" . | nindent 4 }}
{{- end }}
