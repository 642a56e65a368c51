package auth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// newClient returns a client for the application or the issuer of tokens. It follows no redirects, because a redirect leads
// to a page that a person logs in at, and its answer is not the application's word on who somebody is.
func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = maxCalls
		t.MaxResponseHeaderBytes = 64 << 10
		t.IdleConnTimeout = 30 * time.Second
		t.DisableCompression = true
		transport = t
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask sends a request and reads the whole answer, which may have so many bytes. Its error holds no part of the request.
func ask(client *http.Client, r *http.Request, most int64) (status int, text []byte, err error) {
	r.Header.Set("User-Agent", "sluice")
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, withoutURL(err)
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(io.LimitReader(answer.Body, most+1))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(text)) > most {
		return 0, nil, fmt.Errorf("the answer has more than %d bytes", most)
	}
	return answer.StatusCode, text, nil
}

// withoutURL removes the URL from an error of net/http: it may have a password.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
