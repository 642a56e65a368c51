package rig

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	answerLimit = 15 * time.Second // for a whole answer, from a machine that is busy with the check
	answerBytes = 64 << 20
	readyLimit  = time.Second // for /readyz, which a working replica answers at once
)

// asker makes a connection of its own for each question: an old one may lead to a process that is gone.
var asker = &http.Client{Timeout: answerLimit, Transport: &http.Transport{DisableKeepAlives: true}}

// Get returns the body of the answer to a GET of url. A status other than 200 is an error that contains the beginning
// of the body.
func Get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := asker.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerBytes))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", url, response.Status, bytes.TrimSpace(body))
	}
	return body, nil
}

// AwaitReady waits until the replica of the gateway at a URL ("http://host:port") says that it is ready, which is 200
// from /readyz. It gives up after limit, or when the replica's process ends.
func AwaitReady(ctx context.Context, p *Process, url string, limit time.Duration) error {
	return Until(ctx, limit, func(ctx context.Context) error {
		if err := p.Ended(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, readyLimit)
		defer cancel()
		_, err := Get(ctx, url+"/readyz")
		return err
	})
}

// Metric returns a metric from the /metrics of the replica at a URL. A name with labels is written as in the text
// format of Prometheus: `name{label="value"}`.
func Metric(ctx context.Context, url, name string) (float64, error) {
	text, err := Get(ctx, url+"/metrics")
	if err != nil {
		return 0, err
	}
	return parseMetric(string(text), name)
}

// MetricSum returns the sum of a metric over all its labels, from the /metrics of the replica at a URL. A replica that has
// no such metric counts as 0.
func MetricSum(ctx context.Context, url, name string) (float64, error) {
	text, err := Get(ctx, url+"/metrics")
	if err != nil {
		return 0, err
	}
	return sumMetric(string(text), name)
}

// sumMetric adds up a metric in the text format of Prometheus: `name 1` and `name{label="value"} 2`.
func sumMetric(text, name string) (float64, error) {
	sum := 0.0
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		n, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum += n
	}
	return sum, nil
}

// parseMetric finds a metric in the text format of Prometheus.
func parseMetric(text, name string) (float64, error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}
