{{/* The Deployment of a component: (dict "root" $ "component" "gateway"). */}}

{{- define "clarion.deployment" -}}
{{- $root := .root -}}
{{- $values := index $root.Values .component -}}
{{- include "clarion.checks" . -}}
{{- $replicas := fromJson (include "clarion.replicas" .) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "clarion.component" . }}
  labels:
    {{- include "clarion.labels" . | nindent 4 }}
  {{- with merge (ternary (dict "clarion/replicas-of-autoscaler" $replicas.left) dict (hasKey $replicas "left")) $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if hasKey $replicas "replicas" }}
  replicas: {{ int $replicas.replicas }}
  {{- end }}
  revisionHistoryLimit: {{ $values.rollout.revisionHistoryLimit }}
  minReadySeconds: {{ $values.rollout.minReadySeconds }}
  progressDeadlineSeconds: {{ $values.rollout.progressDeadlineSeconds }}
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
      {{- include "clarion.pullSecrets" $root | nindent 6 }}
      serviceAccountName: {{ include "clarion.serviceAccount" . }}
      automountServiceAccountToken: false
      # A Service named "gateway" would set GATEWAY_PORT=tcp://…
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ include "clarion.graceSeconds" . }}
      {{- range $field := list "priorityClassName" "runtimeClassName" "schedulerName" "dnsPolicy" }}
      {{- with index $values $field }}
      {{ $field }}: {{ . }}
      {{- end }}
      {{- end }}
      {{- range $field := list "dnsConfig" "hostAliases" }}
      {{- with index $values $field }}
      {{ $field }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
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
      {{- $selector := dict "matchLabels" (fromYaml (include "clarion.selector" .)) }}
      {{- $soft := and (eq $values.topologySpread.zone "ScheduleAnyway") (not $values.topologySpreadConstraints) }}
      {{- with merge (deepCopy $values.affinity) (ternary (fromYaml (include "clarion.zoneAffinity" $selector)) (dict) $soft) }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $values.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- range $values.topologySpreadConstraints }}
        - {{- toYaml (merge (dict) . (dict "labelSelector" $selector)) | nindent 10 }}
        {{- end }}
      {{- else if or (and $values.topologySpread.zone (not $soft)) $values.topologySpread.node }}
      topologySpreadConstraints:
        {{- range $key, $unsatisfiable := dict "topology.kubernetes.io/zone" (ternary "" $values.topologySpread.zone $soft) "kubernetes.io/hostname" $values.topologySpread.node }}
        {{- if $unsatisfiable }}
        - topologyKey: {{ $key }}
          maxSkew: 1
          whenUnsatisfiable: {{ $unsatisfiable }}
          labelSelector:
            {{- toYaml $selector | nindent 12 }}
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
            {{- with $values.extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            # The last one wins.
            - configMapRef:
                name: {{ include "clarion.component" . }}
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
            {{- if include "clarion.catalogueConfigMap" $root }}
            # Without subPath: the kubelet then brings a changed file into the running pod.
            - name: catalogue
              mountPath: /catalogue
              readOnly: true
            {{- end }}
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
        {{- with include "clarion.catalogueConfigMap" $root }}
        - name: catalogue
          configMap:
            name: {{ . }}
        {{- end }}
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

{{/* A preference for zones with few of a component's pods. It is no soft topology spread constraint: where nodes
     have no zone, as in most clusters of one's own, the scheduler would ignore the constraint for nodes as well.
     Context: the component's selector. */}}
{{- define "clarion.zoneAffinity" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: topology.kubernetes.io/zone
        labelSelector:
          {{- toYaml . | nindent 10 }}
        matchLabelKeys: [pod-template-hash]
{{- end }}
