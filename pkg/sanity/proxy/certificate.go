package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// certificates are what a proxy shows: one that is valid and one that was, both from an authority that signed nothing
// else and whose key is forgotten.
type certificates struct {
	authority      []byte // PEM
	valid, expired *tls.Certificate
}

func newCertificates() (*certificates, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dra-sanity fault proxy"},
		NotBefore: now.Add(-48 * time.Hour), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	made := &certificates{authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	for serial, is := range []struct {
		to    **tls.Certificate
		until time.Time
	}{{&made.valid, now.AddDate(10, 0, 0)}, {&made.expired, now.Add(-24 * time.Hour)}} {
		server := &x509.Certificate{
			SerialNumber: big.NewInt(int64(serial + 2)), Subject: pkix.Name{CommonName: loopback},
			NotBefore: now.Add(-48 * time.Hour), NotAfter: is.until,
			IPAddresses: []net.IP{net.ParseIP(loopback)}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, server, authority, key.Public(), key)
		if err != nil {
			return nil, fmt.Errorf("make a server certificate: %w", err)
		}
		*is.to = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return made, nil
}
