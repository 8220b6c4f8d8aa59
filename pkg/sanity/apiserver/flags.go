package apiserver

import "fmt"

// etcdSocket is where etcd listens, in the servers' folder, which only its owner may enter. Both servers run in that
// folder, so that the name is short wherever it is: paths of sockets may have 107 bytes.
//
// etcd wants the form of an address, and makes a socket of that name.
const etcdSocket = "localhost:2379"

func etcdFlags() []string {
	const peer = "unix://localhost:2380"
	return []string{
		"--data-dir=etcd", "--unsafe-no-fsync",
		"--listen-client-urls=unix://" + etcdSocket, "--advertise-client-urls=unix://" + etcdSocket,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		"--quota-backend-bytes=8589934592", // a soak writes much between two compactions
	}
}

func (s *Server) apiFlags(options Options, id identity) []string {
	flags := []string{
		"--etcd-servers=unix://" + etcdSocket,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", s.port.number), "--permit-port-sharing=true",
		"--tls-cert-file=" + id.certificate, "--tls-private-key-file=" + id.key, "--client-ca-file=" + id.authority,
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + id.accounts,
		"--service-account-signing-key-file=" + id.accounts,
		"--authorization-mode=RBAC",
		// Nobody makes the service account "default" of a namespace here, and without it pods would be refused.
		"--disable-admission-plugins=ServiceAccount",
		"--allow-privileged=true",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--endpoint-reconciler-type=none", // a loopback address is no endpoint
	}
	if options.FeatureGates != "" {
		flags = append(flags, "--feature-gates="+options.FeatureGates)
	}
	if options.RuntimeConfig != "" {
		flags = append(flags, "--runtime-config="+options.RuntimeConfig)
	}
	return append(flags, options.Flags...)
}
