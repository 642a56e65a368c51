package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Epoch names the dataset that Redis had when something was read, and the day by Redis's clock. All that Redis holds has
// one epoch until it loses everything. A copy of it, such as a snapshot that is restored, has the same.
//
// A client of a channel without events has a position too, although nothing is stored about the channel. Its offset is 0,
// and its nonce holds the day on which it was told, and a hash of the epoch, the channel's name and the day.
type Epoch struct {
	name string
	day  uint16 // since 1970
}

// Same reports whether two readings were of the same dataset. An epoch that is not known, nil, is the same as no other.
func (e *Epoch) Same(other *Epoch) bool { return e != nil && other != nil && e.name == other.name }

// Equal reports whether two readings were of the same dataset and of the same day.
func (e *Epoch) Equal(other *Epoch) bool { return e.Same(other) && e.day == other.day }

// ErrNoEpoch is the error of a channel without events while Redis has no epoch: it is not known whether the channel has
// lost events. [Store.RenewEpoch] ends that.
var ErrNoEpoch = errors.New("redis has no epoch: it was emptied, or the key was deleted")

const day = 24 * time.Hour

// daySize is the size of the day in the nonce of an offset 0.
const daySize = 2

// origin returns the nonce of offset 0 that clients of a channel without events are told.
func (e *Epoch) origin(channel string) Nonce { return e.originOf(channel, e.day) }

func (e *Epoch) originOf(channel string, day uint16) Nonce {
	var n Nonce
	binary.BigEndian.PutUint16(n[:], day)
	text := make([]byte, 0, len(e.name)+len(channel)+1+daySize)
	text = append(append(append(text, e.name...), 0), channel...) // no epoch has a zero byte
	sum := sha256.Sum256(append(text, n[:daySize]...))
	copy(n[daySize:], sum[:])
	return n
}

// told reports whether n was told to clients of a channel without events, in this epoch and less than keep ago.
func (e *Epoch) told(channel string, n Nonce, keep time.Duration) bool {
	issued := binary.BigEndian.Uint16(n[:])
	age := int(int16(e.day - issued))
	// A position is as old as the first moment of its day, so that none counts that is older than keep. One of tomorrow is of
	// a replica with a better reading of the clock.
	return age >= -1 && (age < 1 || time.Duration(age+1)*day <= keep) && n == e.originOf(channel, issued)
}

// newBase returns the nonce of offset 0 for a channel that gets its first event. It holds the day, so that it is known when
// the channel was born. The rest is random: a channel that was deleted and is born again is another one.
func (s *Store) newBase() Nonce {
	var n Nonce
	binary.BigEndian.PutUint16(n[:], dayOf(s.now()))
	_, _ = rand.Read(n[daySize:]) // never fails, see crypto/rand.Read
	return n
}

// bornOn returns the day that newBase wrote.
func bornOn(base Nonce) uint16 { return binary.BigEndian.Uint16(base[:]) }

func dayOf(t time.Time) uint16 { return uint16(t.Unix() / int64(day/time.Second)) }

// newEpochName returns what a new epoch is called.
func newEpochName() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand.Read
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// epochNamed returns an epoch of today. The newest one is remembered, because very many tips have it.
func (s *Store) epochNamed(name string) *Epoch {
	e := Epoch{name: name, day: dayOf(s.now())}
	if newest := s.epoch.Load(); newest != nil && *newest == e {
		return newest
	}
	s.epoch.Store(&e)
	return &e
}

// epochOf asks for the epoch of the dataset that holds a channel. One Redis has one for all channels.
//
// Whoever reads a channel asks for the epoch after it, in the same pipeline: then what was read is of that epoch, or of an
// older one if the epoch has changed between the two. The channel's scripts do not read it: in a Redis Cluster it would be
// on another node.
func (s *Store) epochOf(ctx context.Context, p redis.Pipeliner, _ string) *redis.StringCmd {
	return p.Get(ctx, s.names.epoch())
}

// epochFrom reads the reply to epochOf. It returns nil if Redis has none, or did not say so.
func (s *Store) epochFrom(reply *redis.StringCmd) *Epoch {
	name, err := reply.Result()
	if err != nil || name == "" {
		return nil
	}
	return s.epochNamed(name)
}

// redisClock is a reading of Redis's clock.
type redisClock struct{ redis, local time.Time }

// now returns the time of Redis's clock, as of the newest reading; that of this machine if there was none.
func (s *Store) now() time.Time {
	c := s.clock.Load()
	if c == nil {
		return time.Now()
	}
	return c.redis.Add(time.Since(c.local))
}

// noteTime remembers a reply to TIME.
func (s *Store) noteTime(reply *redis.TimeCmd) {
	if t, err := reply.Result(); err == nil && !t.IsZero() {
		s.clock.Store(&redisClock{redis: t, local: time.Now()})
	}
}

// Dataset is what a replica compares to notice that Redis has become another one, without reading its channels.
type Dataset struct {
	Epoch *Epoch // nil: Redis has none
	// Emptied tells that Redis has no epoch, and no format either: these two keys are made together.
	Emptied bool
	// Run changes when Redis is started, and Replication when its data may have come from another Redis. They are empty
	// where INFO does not tell: Redis is an embedded or a rented one, or its user has no right to INFO.
	Run, Replication string
}

// Same reports whether nothing says that one dataset is another one than the other.
func (d Dataset) Same(other Dataset) bool {
	return d.Epoch.Same(other.Epoch) && d.Run == other.Run && d.Replication == other.Replication
}

// Dataset asks Redis which dataset it has, and what time it is.
func (s *Store) Dataset(ctx context.Context) (Dataset, error) {
	p := s.rdb.Pipeline()
	now, epoch, format := p.Time(ctx), s.epochOf(ctx, p, ""), p.Exists(ctx, s.names.format())
	server, replication := p.Info(ctx, "server"), p.Info(ctx, "replication")
	_, failed := p.Exec(ctx)
	if err := epoch.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return Dataset{}, fmt.Errorf("ask which dataset Redis has: %w", err)
	}
	if epoch.Err() == nil && epoch.Val() == "" && failed != nil { // no connection: then the commands have no errors of their own
		return Dataset{}, fmt.Errorf("ask which dataset Redis has: %w", failed)
	}
	s.noteTime(now)
	return Dataset{
		Epoch: s.epochFrom(epoch), Emptied: epoch.Err() != nil && format.Err() == nil && format.Val() == 0,
		Run: infoField(server, "run_id"), Replication: infoField(replication, "master_replid"),
	}, nil
}

// infoField returns a field of a reply to INFO, "" if it is not there.
func infoField(reply *redis.StringCmd, name string) string {
	for line := range strings.Lines(reply.Val()) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// RenewEpoch gives a Redis without an epoch one, and notes the format, which may be missing too. With same, the dataset is
// known to be the one of that epoch; nil: Redis has lost everything, or nobody can know. If another replica is faster, its
// epoch stays.
func (s *Store) RenewEpoch(ctx context.Context, same *Epoch) error {
	name := newEpochName()
	if same != nil {
		name = same.name
	}
	if err := s.format.begin(ctx); err != nil {
		return err
	}
	defer s.format.end()
	s.format.known.Store(false)
	return s.checkFormat(ctx, name)
}

// leftOf reads the reply to PTTL for the meta key of a channel: how long Redis keeps the channel's position. Without a reply
// it is 0.
func leftOf(reply *redis.DurationCmd) time.Duration {
	if reply == nil {
		return 0
	}
	left := reply.Val()
	if left == -1 { // no end, as go-redis tells it
		return time.Duration(1<<63 - 1)
	}
	return max(left, 0)
}

// String returns the epoch and its day, for logs.
func (e *Epoch) String() string {
	if e == nil {
		return "none"
	}
	return e.name + " on day " + strconv.Itoa(int(e.day))
}
