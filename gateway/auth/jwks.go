package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// keysEvery is how often the keys are fetched. A key that the issuer has withdrawn is accepted for that long.
	keysEvery = 5 * time.Minute
	// keysPause is the least time between two fetches. Tokens with made-up key ids cause no more than that.
	keysPause = 10 * time.Second
	// fetchTimeout bounds a fetch, and so how long a token with an unknown key id waits.
	fetchTimeout = 5 * time.Second
	maxKeySet    = 512 << 10 // bytes
	maxKeys      = 64        // of a set; a token without a key id may be tried with all of them
)

// jwks is a set of keys at an address (JWK Set, RFC 7517). run fetches it. While the address does not answer, or answers
// without a usable key, the keys that are known stay.
type jwks struct {
	url    string
	client *http.Client
	log    *slog.Logger
	wanted chan struct{} // capacity 1: somebody has an unknown key id

	mu       sync.Mutex
	keys     publicKeys    // guarded by mu
	known    bool          // keys were fetched at least once; guarded by mu
	fetching bool          // guarded by mu
	fetched  time.Time     // when the newest fetch began; guarded by mu
	next     chan struct{} // closed when the next fetch has ended; guarded by mu
	// What became of all fetches; guarded by mu.
	good, failed int64
}

func newJWKS(url string, client *http.Client, log *slog.Logger) *jwks {
	return &jwks{url: url, client: client, log: log, wanted: make(chan struct{}, 1), next: make(chan struct{})}
}

func (*jwks) algorithms() []string { return asymmetric }

// verificationKey implements keySource. A token whose key is not known waits for a fetch, unless there was one just now.
func (j *jwks) verificationKey(ctx context.Context, kid, alg string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	for first := true; ; first = false {
		j.mu.Lock()
		keys, known, next := j.keys, j.known, j.next
		recent := !j.fetching && time.Since(j.fetched) < keysPause
		j.mu.Unlock()
		key, err := keys.verificationKey(ctx, kid, alg)
		switch {
		case err == nil:
			return key, nil
		case recent || !first:
			if !known {
				err = errNoKeysYet
			}
			return nil, err
		}
		select {
		case j.wanted <- struct{}{}:
		default: // a fetch is asked for already
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, errNoKeysYet
		}
	}
}

var errNoKeysYet = unknownNow("auth_unavailable", "The keys that tokens are signed with cannot be read now")

// run fetches the keys until ctx ends.
func (j *jwks) run(ctx context.Context) {
	for {
		began := time.Now()
		j.refresh(ctx)
		regular := time.NewTimer(keysEvery - rand.N(keysEvery/10)) // replicas need not come all at once
		pause := time.NewTimer(time.Until(began.Add(keysPause)))
		select {
		case <-ctx.Done():
		case <-pause.C:
			select {
			case <-ctx.Done():
			case <-regular.C:
			case <-j.wanted:
			}
		}
		regular.Stop()
		pause.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// refresh fetches the keys once, and tells those who wait.
func (j *jwks) refresh(ctx context.Context) {
	j.mu.Lock()
	j.fetched, j.fetching = time.Now(), true
	j.mu.Unlock()
	keys, err := j.fetch(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fetching = false
	if err == nil {
		j.keys, j.known = keys, true
		j.good++
	} else if ctx.Err() == nil {
		j.failed++
		j.log.Warn("keys for tokens not fetched; those that are known stay valid", "known", len(j.keys), "error", err)
	}
	close(j.next)
	j.next = make(chan struct{})
}

func (j *jwks) fetch(ctx context.Context) (publicKeys, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	status, text, err := ask(j.client, r, maxKeySet)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("the answer's status is %d, not 200", status)
	}
	return parseKeySet(text)
}

// parseKeySet reads a JWK Set. It leaves out what is not a public key for signatures.
func parseKeySet(text []byte) (publicKeys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("the answer is not a JWK Set: %w", err)
	}
	var keys publicKeys
	for _, raw := range set.Keys {
		// Without Private, a secret is refused and of a private key only the public part is read.
		k, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil || !usable(k.Key()) || k.Marshal().USE == jwkset.UseEnc {
			continue
		}
		keys = append(keys, publicKey{id: k.Marshal().KID, alg: k.Marshal().ALG.String(), key: k.Key()})
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("the answer has no usable key")
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("the answer has more than %d keys", maxKeys)
	}
	return keys, nil
}

// The sources of keys.
var (
	_ keySource  = secret(nil)
	_ keySource  = publicKeys(nil)
	_ keySource  = (*jwks)(nil)
	_ jwt.Claims = (*claims)(nil)
)
