package auth

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"strings"
)

// readKeyFile reads public keys from a file in PEM form (RFC 7468): keys, or certificates with keys. Several are possible,
// so that a key can be replaced by another one.
func readKeyFile(name string) (publicKeys, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parsePEM(text)
}

func parsePEM(text []byte) (publicKeys, error) {
	var keys publicKeys
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		key, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		if !usable(key) {
			return nil, errors.New("a key must be RSA with 2048 bits or more, ECDSA or Ed25519")
		}
		keys = append(keys, publicKey{key: key})
	}
	if len(keys) == 0 {
		return nil, errors.New("a public key in PEM form is expected")
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (any, error) {
	switch {
	case block.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("the file has a private key, which belongs to whoever signs tokens; the gateway needs the public one")
	default:
		return nil, errors.New("a PUBLIC KEY or a CERTIFICATE is expected, not a " + block.Type)
	}
}
