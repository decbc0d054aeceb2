{{/* Objects that gateway and publisher have alike: (dict "root" $ "component" "gateway"). */}}

{{- define "clarion.deployment" -}}
{{- $root := .root -}}
{{- $values := index $root.Values .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
  {{- with $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: {{ $values.rollout.revisionHistoryLimit }}
  minReadySeconds: {{ $values.rollout.minReadySeconds }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ $values.rollout.maxSurge }}
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "clarion.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "clarion.podLabels" . | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # A changed setting or secret rolls the pods.
        clarion/settings: {{ include "clarion.settings" . | sha256sum }}
        clarion/secrets: {{ include "clarion.secretData" . | sha256sum }}
        {{- if and (eq .component "gateway") $values.handlers.files }}
        clarion/handlers: {{ toYaml $values.handlers.files | sha256sum }}
        {{- end }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      serviceAccountName: {{ include "clarion.serviceAccount" . }}
      automountServiceAccountToken: false
      # A Service named "gateway" would set GATEWAY_PORT=tcp://…
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ include "clarion.graceSeconds" . }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext:
        {{- toYaml $root.Values.podSecurityContext | nindent 8 }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if or $values.topologySpread.zone $values.topologySpread.node }}
      topologySpreadConstraints:
        {{- range $key, $unsatisfiable := dict "topology.kubernetes.io/zone" $values.topologySpread.zone "kubernetes.io/hostname" $values.topologySpread.node }}
        {{- if $unsatisfiable }}
        - topologyKey: {{ $key }}
          maxSkew: 1
          whenUnsatisfiable: {{ $unsatisfiable }}
          labelSelector:
            matchLabels:
              {{- include "clarion.selector" $ | nindent 14 }}
          # The pods of a new version are spread by themselves.
          matchLabelKeys: [pod-template-hash]
        {{- end }}
        {{- end }}
      {{- end }}
      {{- with $values.extraInitContainers }}
      initContainers:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "clarion.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [clarion_{{ .component }}]
          securityContext:
            {{- toYaml $root.Values.containerSecurityContext | nindent 12 }}
          ports:
            - name: public
              containerPort: {{ include "clarion.port" . }}
            - name: internal
              containerPort: {{ include "clarion.internalPort" . }}
          envFrom:
            - configMapRef:
                name: {{ include "clarion.component" . }}
            {{- with $values.extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          env:
            {{- include "clarion.env" . | nindent 12 }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          startupProbe:
            httpGet:
              path: /healthz
              port: internal
            {{- toYaml $values.probes.startup | nindent 12 }}
          livenessProbe:
            httpGet:
              path: /healthz
              port: internal
            {{- toYaml $values.probes.liveness | nindent 12 }}
          readinessProbe:
            httpGet:
              path: /readyz
              port: internal
            {{- toYaml $values.probes.readiness | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- if and (eq .component "gateway") (include "clarion.handlersConfigMap" $root) }}
            - name: handlers
              mountPath: /handlers
              readOnly: true
            {{- end }}
            {{- if and (eq .component "gateway") $values.podDeletionCost.enabled }}
            - name: service-account
              mountPath: /var/run/secrets/kubernetes.io/serviceaccount
              readOnly: true
            {{- end }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- with $values.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
        {{- if eq .component "gateway" }}
        {{- with include "clarion.handlersConfigMap" $root }}
        - name: handlers
          configMap:
            name: {{ . }}
        {{- end }}
        {{- if $values.podDeletionCost.enabled }}
        # In the gateway's container alone; automounting would hand the token to sidecars too.
        - name: service-account
          projected:
            sources:
              - serviceAccountToken:
                  path: token
              - configMap:
                  name: kube-root-ca.crt
                  items:
                    - key: ca.crt
                      path: ca.crt
              - downwardAPI:
                  items:
                    - path: namespace
                      fieldRef:
                        fieldPath: metadata.namespace
        {{- end }}
        {{- end }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}

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
  {{- with $values.externalTrafficPolicy }}
  externalTrafficPolicy: {{ . }}
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
  selector:
    {{- include "clarion.selector" . | nindent 4 }}
  ports:
    - name: internal
      port: {{ include "clarion.internalPort" . }}
      targetPort: internal
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

{{- define "clarion.ingress" -}}
{{- $values := (index .root.Values .component).ingress -}}
{{- if $values.enabled -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
  {{- with $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
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
          - path: {{ . }}
            pathType: Prefix
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
  {{- with $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
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
            value: {{ . }}
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
