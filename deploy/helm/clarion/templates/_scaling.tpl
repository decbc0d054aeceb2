{{/* How many pods a component has: (dict "root" $ "component" "gateway"). */}}

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
    - type: Resource
      resource:
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
