package apiserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is long enough for a soak and short enough for something that is thrown away. An hour before now allows
// for clocks that are set while the server runs.
const validity = 30 * 24 * time.Hour

// authority signs what the server and its clients show each other. It lives as long as the server.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// pair is a certificate with its key, as PEM.
type pair struct{ certificate, key []byte }

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	template := certificate("dra-sanity")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	return &authority{certificate: parsed, key: key}, nil
}

// PEM is the certificate by which others recognise what the authority has signed.
func (a *authority) PEM() []byte { return encode("CERTIFICATE", a.certificate.Raw) }

// server signs a certificate for a server on this machine.
func (a *authority) server() (pair, error) {
	template := certificate("kube-apiserver")
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return a.sign(template)
}

// client signs a certificate that makes its owner this user in these groups.
func (a *authority) client(user string, groups []string) (pair, error) {
	template := certificate(user)
	template.Subject.Organization = groups
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.sign(template)
}

func (a *authority) sign(template *x509.Certificate) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make a key for %s: %w", template.Subject.CommonName, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return pair{}, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("encode the key of %s: %w", template.Subject.CommonName, err)
	}
	return pair{encode("CERTIFICATE", der), encode("EC PRIVATE KEY", encoded)}, nil
}

func certificate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		serial = big.NewInt(time.Now().UnixNano()) // it only has to differ
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// identity is what the server shows and trusts, as files in its directory.
type identity struct{ authority, certificate, key, accounts string }

// write puts into dir what kube-apiserver wants as files: who it is, whom it trusts, and the key of its service
// accounts' tokens.
func (a *authority) write(dir string) (identity, error) {
	server, err := a.server()
	if err != nil {
		return identity{}, err
	}
	accounts, err := a.client("service-accounts", nil)
	if err != nil {
		return identity{}, err
	}
	id := identity{
		filepath.Join(dir, "ca.crt"), filepath.Join(dir, "server.crt"),
		filepath.Join(dir, "server.key"), filepath.Join(dir, "accounts.key"),
	}
	for path, content := range map[string][]byte{
		id.authority: a.PEM(), id.certificate: server.certificate, id.key: server.key, id.accounts: accounts.key,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return identity{}, fmt.Errorf("write certificates: %w", err)
		}
	}
	return id, nil
}
