package redismodel

import (
	"maps"
	"slices"
	"time"
)

// Dataset is what a server stores. A copy is a snapshot.
type Dataset struct {
	keys map[string]*value
}

// value is what a key holds: exactly one of text, list and hash.
type value struct {
	kind    kind
	text    string
	list    []string // oldest first: LPUSH appends, index 0 is the last one
	log     []string // all that was ever pushed, oldest first: for whoever compares, not for commands
	hash    map[string]string
	expires time.Time // zero: never
}

// kind is the type of a value.
type kind string

const (
	stringKind kind = "string"
	listKind   kind = "list"
	hashKind   kind = "hash"
)

func newDataset() *Dataset { return &Dataset{keys: map[string]*value{}} }

// copy returns a dataset that shares nothing that changes.
func (d *Dataset) copy() *Dataset {
	out := newDataset()
	for key, v := range d.keys {
		c := *v
		c.list, c.log, c.hash = slices.Clone(v.list), slices.Clip(v.log), maps.Clone(v.hash)
		out.keys[key] = &c
	}
	return out
}

// Copy returns a copy that shares nothing that changes.
func (d *Dataset) Copy() *Dataset { return d.copy() }

// get returns a key's value, nil if there is none.
func (d *Dataset) get(key string) *value {
	v := d.keys[key]
	if v != nil && !v.expires.IsZero() && !time.Now().Before(v.expires) {
		delete(d.keys, key)
		return nil
	}
	return v
}

// typed returns a key's value if it is of a kind, nil if there is none, and wrong if it is of another one.
func (d *Dataset) typed(key string, k kind) (v *value, wrong bool) {
	v = d.get(key)
	return v, v != nil && v.kind != k
}

// made is typed, but makes a value where there is none.
func (d *Dataset) made(key string, k kind) (v *value, wrong bool) {
	v, wrong = d.typed(key, k)
	if v == nil {
		v = &value{kind: k}
		if k == hashKind {
			v.hash = map[string]string{}
		}
		d.keys[key] = v
	}
	return v, wrong
}

func (d *Dataset) list(key string) (list, log []string) {
	v, wrong := d.typed(key, listKind)
	if v == nil || wrong {
		return nil, nil
	}
	list = slices.Clone(v.list)
	slices.Reverse(list)
	return list, slices.Clip(v.log)
}
