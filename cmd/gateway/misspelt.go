package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// checkNames returns an error for the first variable in environ that begins with the prefix and is no setting.
func checkNames(environ []string, cfg *Config) error {
	var known []string
	for _, s := range settings(cfg) {
		known = append(known, s.name)
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix+"_") || slices.Contains(known, name) || isServiceLink(name, value) {
			continue
		}
		nearest, best := "", 1+len(name)/3
		for _, k := range known {
			if d := distance(name, k); d < best {
				nearest, best = k, d
			}
		}
		if nearest != "" {
			return fmt.Errorf("%s is not a setting; is %s meant? (gateway help lists all)", name, nearest)
		}
		return fmt.Errorf("%s is not a setting (gateway help lists all)", name)
	}
	return nil
}

// serviceLink matches the variables that Kubernetes (and docker --link) put into every container when a service is
// called "gateway".
var serviceLink = regexp.MustCompile(
	`^GATEWAY_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// isServiceLink reports whether a variable was set by Kubernetes or Docker. GATEWAY_PORT counts as theirs only if its
// value is a URL. With another value, somebody probably means the setting GATEWAY_ADDR.
func isServiceLink(name, value string) bool {
	return serviceLink.MatchString(name) && (name != prefix+"_PORT" || strings.Contains(value, "://"))
}

// distance returns how many letters must be added, removed or changed to turn a into b (the Levenshtein distance).
func distance(a, b string) int {
	// row[j] is the distance from the letters of a that were read so far to the first j letters of b.
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
