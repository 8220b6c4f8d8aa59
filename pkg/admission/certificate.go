package admission

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const (
	// validity is that of a certificate and of its authority; renewal is how long before its end another one is made.
	validity = 365 * 24 * time.Hour
	renewal  = validity / 3
	// early allows for clocks that differ.
	early = time.Hour
)

// Keys of the Secret, those of Kubernetes' own type for certificates.
const (
	keyAuthorities = "ca.crt"
	keyCertificate = "tls.crt"
	keyPrivate     = "tls.key"
)

// credentials are a certificate and the authorities that are to be trusted.
type credentials struct {
	// authorities is PEM: that of the certificate first, then those that were before it and are valid still.
	authorities []byte
	certificate tls.Certificate
	ends        time.Time
	// stored is what the Secret has.
	stored map[string][]byte
}

// names are what a client may call the server.
type names struct {
	DNS []string
	IPs []net.IP
}

// issue makes credentials for the names. The authority's key is forgotten. Authorities of before are kept while they
// are valid.
func issue(of names, before []byte, now time.Time) (*credentials, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	// The time is part of the name, so that a client does not take one authority for the next.
	authority := certificate("dragoman webhook authority "+now.UTC().Format(time.RFC3339Nano), now)
	authority.IsCA, authority.BasicConstraintsValid, authority.MaxPathLenZero = true, true, true
	authority.KeyUsage = x509.KeyUsageCertSign
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	if authority, err = x509.ParseCertificate(authorityDER); err != nil { // its key identifier is only now there
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the certificate's key: %w", err)
	}
	own := certificate("dragoman webhook", now)
	own.DNSNames, own.IPAddresses = of.DNS, of.IPs
	own.KeyUsage, own.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	ownDER, err := x509.CreateCertificate(rand.Reader, own, authority, key.Public(), authorityKey)
	if err != nil {
		return nil, fmt.Errorf("make the certificate: %w", err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the certificate's key: %w", err)
	}
	return read(map[string][]byte{
		keyAuthorities: append(encode("CERTIFICATE", authorityDER), valid(before, now)...),
		keyCertificate: encode("CERTIFICATE", ownDER),
		keyPrivate:     encode("PRIVATE KEY", encodedKey),
	})
}

func certificate(name string, now time.Time) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		serial = big.NewInt(now.UnixNano()) // it only has to differ
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-early), NotAfter: now.Add(validity)}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// valid returns those certificates of bundle, in PEM, that are valid now, at most one: that of the credentials before
// the next ones.
func valid(bundle []byte, now time.Time) []byte {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err == nil && block.Type == "CERTIFICATE" && now.Before(parsed.NotAfter) {
			return encode("CERTIFICATE", block.Bytes)
		}
	}
	return nil
}

// read reads what a Secret has.
func read(stored map[string][]byte) (*credentials, error) {
	if len(stored[keyCertificate]) == 0 && len(stored[keyPrivate]) == 0 {
		return nil, errors.New("there is no certificate yet")
	}
	pair, err := tls.X509KeyPair(stored[keyCertificate], stored[keyPrivate])
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	return &credentials{authorities: bytes.Clone(stored[keyAuthorities]), certificate: pair, ends: pair.Leaf.NotAfter,
		stored: stored}, nil
}

// check says why the credentials are not good for these names any more.
func (c *credentials) check(of names, now time.Time) error {
	if left := c.ends.Sub(now); left < renewal {
		return fmt.Errorf("the certificate ends at %s", c.ends.UTC().Format(time.RFC3339))
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.authorities)
	all := append([]string(nil), of.DNS...)
	for _, ip := range of.IPs {
		all = append(all, ip.String())
	}
	for _, name := range all {
		_, err := c.certificate.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, DNSName: name})
		if err != nil {
			return fmt.Errorf("the certificate is not good: %w", err)
		}
	}
	return nil
}

// same says whether two are the same certificate.
func (c *credentials) same(other *credentials) bool {
	return c != nil && other != nil && bytes.Equal(c.certificate.Certificate[0], other.certificate.Certificate[0])
}
