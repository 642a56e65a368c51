package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unique"
)

// keyPrefix begins every API key, so that a scanner for leaked secrets finds one.
const keyPrefix = "sluice_"

// The rights of a key that are not patterns. No channel's name has a slash.
const (
	rightAdmin  = "/admin"
	rightRevoke = "/revoke"
)

// keyName is what the name of a key may be. It has no underscore, which ends it inside the key.
var keyName = regexp.MustCompile(`^[A-Za-z0-9.-]{1,40}$`)

// maxKey bounds an API key, in bytes.
const maxKey = 256

// apiKey is a key that is accepted.
type apiKey struct {
	digest  [sha256.Size]byte // of the whole key
	session Session
}

// apiKeys are the keys by name. They do not change.
type apiKeys map[string]apiKey

// check returns the session of a key. It takes as long for a name that does not exist as for a wrong secret.
func (ks apiKeys) check(presented string) (Session, error) {
	bad := denied("invalid_key", "The API key is not valid")
	if len(presented) > maxKey {
		return Session{}, bad
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(presented, keyPrefix), "_")
	known, ok := ks[name]
	digest := sha256.Sum256([]byte(presented))
	if same := subtle.ConstantTimeCompare(digest[:], known.digest[:]) == 1; !same || !ok {
		return Session{}, bad
	}
	return known.session, nil
}

// parseKeys reads keys that stand one behind the other:
//
//	name:SHA-256 of the key, in hex:pattern|pattern|...
//
// Instead of a pattern there may be /admin or /revoke. A blank line and one that begins with # are left out.
func parseKeys(entries []string) (apiKeys, error) {
	keys := make(apiKeys)
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		if entry == "" || strings.HasPrefix(entry, "#") {
			continue
		}
		name, rest, _ := strings.Cut(entry, ":")
		if !keyName.MatchString(name) {
			return nil, errors.New("the name of a key consists of letters, digits, - and ., at most 40")
		}
		if _, twice := keys[name]; twice {
			return nil, fmt.Errorf("there are two keys with the name %s", name)
		}
		k, err := parseKey(name, rest)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		keys[name] = k
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key")
	}
	return keys, nil
}

// parseKey reads what comes after the name.
func parseKey(name, rest string) (k apiKey, err error) {
	sum, rights, _ := strings.Cut(rest, ":")
	digest, err := hex.DecodeString(sum)
	if err != nil || len(digest) != len(k.digest) {
		return k, errors.New("the SHA-256 of the key is expected after its name, as 64 hexadecimal digits")
	}
	copy(k.digest[:], digest)
	who, err := keyIdentity(name, strings.Split(rights, "|"))
	k.session = unique.Make(who)
	return k, err
}

// keyIdentity returns who has a key. What a key may publish it may also read, so that a server can render a page.
func keyIdentity(name string, rights []string) (Identity, error) {
	who := Identity{Key: name}
	var patterns []string
	for _, r := range rights {
		switch r = strings.TrimSpace(r); r {
		case rightAdmin:
			who.Admin = true
		case rightRevoke:
			who.Revoke = true
		default:
			patterns = append(patterns, r)
		}
	}
	if len(rights) == 0 || rights[0] == "" {
		return who, errors.New("a key needs a pattern of the channels it may publish on, for example orders.*")
	}
	list, err := NewPatterns(patterns)
	who.Publish, who.Subscribe = list, list
	return who, err
}

// NewKey makes an API key. line is what the setting for API keys gets: it has only a digest of the key.
func NewKey(name string, rights []string) (key, line string, err error) {
	if !keyName.MatchString(name) {
		return "", "", errors.New("the name of a key consists of letters, digits, - and ., at most 40")
	}
	if slices.ContainsFunc(rights, func(r string) bool { return strings.ContainsAny(r, "|;") }) {
		return "", "", errors.New("a pattern of a key cannot have | or ;")
	}
	if _, err := keyIdentity(name, rights); err != nil {
		return "", "", err
	}
	key = keyPrefix + name + "_" + rand.Text()
	digest := sha256.Sum256([]byte(key))
	return key, name + ":" + hex.EncodeToString(digest[:]) + ":" + strings.Join(rights, "|"), nil
}
