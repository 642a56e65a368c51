package store

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of tickets.
const (
	// ticketHeld is how long a ticket is kept after its stream was heard of last. Streams are heard of every 15 s (see
	// TicketBeat), so it is kept for 60 to 75 s after a stream was cut.
	ticketHeld = 75 * time.Second
	takenTTL   = 10 * time.Second // of an entry of the taken key
	takenCap   = 10_000           // entries of the taken key; a stream whose entry is missing is told by KeepTicket
)

// TicketFresh is how long a ticket is kept that no stream has used.
const TicketFresh = 30 * time.Second

// TicketBeat is how often KeepTicket must be called for a stream.
const TicketBeat = 15 * time.Second

// The errors of tickets.
var (
	ErrNoTicket    = errors.New("there is no such ticket")
	ErrOtherTicket = errors.New("the ticket is another stream's")
)

//go:embed lua/ticket.lua
var ticketLua string

var ticketScript = redis.NewScript(ticketLua)

// ticket is the hash of what is known of a ticket. Redis has only a digest of the ticket itself.
func (n Names) ticket(ticket string) string {
	sum := sha256.Sum256([]byte(ticket))
	return n.keys + "ticket:" + hex.EncodeToString(sum[:16])
}

// taken is the sorted set of streams that lost their ticket a moment ago.
func (n Names) taken() string { return n.keys + "taken" }

// MakeTicket keeps a ticket, and who has made it, for 30 s.
func (s *Store) MakeTicket(ctx context.Context, ticket string, who []byte) error {
	if err := s.CheckFormat(ctx); err != nil {
		return err
	}
	key := s.names.ticket(ticket)
	_, err := s.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, "who", who)
		p.Expire(ctx, key, TicketFresh)
		return nil
	})
	if err != nil {
		return fmt.Errorf("make a ticket: %w", err)
	}
	return nil
}

// TicketOf returns who has made a ticket, or ErrNoTicket. The ticket is not used up by it.
func (s *Store) TicketOf(ctx context.Context, ticket string) (who []byte, err error) {
	who, err = s.rdb.HGet(ctx, s.names.ticket(ticket), "who").Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, ErrNoTicket
	case err != nil:
		return nil, fmt.Errorf("read a ticket: %w", err)
	}
	return who, nil
}

// UseTicket gives a ticket to a stream, and takes it from the stream that has it. holder is the stream's name, unique among
// all replicas, and params says what it carries: a ticket that was used before opens only what it opened then. The errors
// are ErrNoTicket, ErrOtherTicket and those of Redis.
func (s *Store) UseTicket(ctx context.Context, ticket, params, holder string) error {
	return s.runTicket(ctx, ticket, params, holder)
}

// KeepTicket keeps a ticket for the stream that has it. It returns ErrOtherTicket if a newer stream has it.
func (s *Store) KeepTicket(ctx context.Context, ticket, holder string) error {
	return s.runTicket(ctx, ticket, "", holder)
}

func (s *Store) runTicket(ctx context.Context, ticket, params, holder string) error {
	reply, err := s.scripts.run(ctx, ticketScript, []string{s.names.ticket(ticket), s.names.taken()},
		[]any{params, holder, seconds(ticketHeld), seconds(takenTTL), takenCap}).Text()
	switch {
	case err != nil:
		return fmt.Errorf("use a ticket: %w", err)
	case reply == "gone":
		return ErrNoTicket
	case reply == "other":
		return ErrOtherTicket
	default:
		return nil
	}
}

// TakenTickets returns the streams that lost their tickets after a moment of Redis's clock, in microseconds since 1970, and the
// moment of the last one.
func (s *Store) TakenTickets(ctx context.Context, after int64) (holders []string, last int64, err error) {
	list, err := s.rdb.ZRangeByScoreWithScores(ctx, s.names.taken(), &redis.ZRangeBy{
		Min: "(" + strconv.FormatInt(after, 10), Max: "+inf",
	}).Result()
	if err != nil {
		return nil, after, fmt.Errorf("read taken tickets: %w", err)
	}
	for _, z := range list {
		holder, _ := z.Member.(string)
		holders, after = append(holders, holder), int64(z.Score)
	}
	return holders, after, nil
}
