module example.com/dragoman/e2e/nodeimage

go 1.26.0

require (
	example.com/dragoman v0.0.0
	github.com/klauspost/compress v1.20.3
	golang.org/x/sys v0.49.0
	sigs.k8s.io/yaml v1.6.0
)

require (
	go.yaml.in/yaml/v2 v2.4.4 // indirect
	golang.org/x/mod v0.42.0 // indirect
)

replace example.com/dragoman => ../../
