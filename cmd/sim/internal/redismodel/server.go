package redismodel

import (
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"sluice/cmd/sim/internal/network"
)

// Config says how a Server behaves where versions of Redis differ.
type Config struct {
	// DeferPush makes a message that a connection publishes to itself come after the reply to the command, as Redis 7.2
	// does; otherwise it comes before, as in Redis 7.0.
	DeferPush bool
	// Log, if not nil, is called for everything that happens.
	Log func(format string, args ...any)
	// Cut, if not nil, is called when a connection with subscriptions is over: messages that were published since
	// then, and counted it as a receiver, may not have reached it.
	Cut func(peer string, since time.Time)
}

// Refusal is what a Server answers to commands that it does not carry out.
type Refusal string

// The refusals.
const (
	Nothing  Refusal = ""
	OOM      Refusal = "OOM command not allowed when used memory > 'maxmemory'."
	Loading  Refusal = "LOADING Redis is loading the dataset in memory"
	ReadOnly Refusal = "READONLY You can't write against a read only replica."
)

// Server is a Redis. It is safe for concurrent use.
type Server struct {
	cfg Config
	net *network.Network
	rng *rand.Rand

	turn chan struct{} // 1: held by the connection whose commands are carried out

	mu          sync.Mutex
	data        *Dataset                 // guarded by mu
	scripts     *scripts                 // guarded by mu
	clients     []*client                // in the order of their coming; guarded by mu
	channels    map[string][]*client     // subscribers; guarded by mu
	patterns    []subscription           // guarded by mu
	running     bool                     // guarded by mu
	starts      int                      // how often Start was called; guarded by mu
	host        string                   // guarded by mu
	thawed      chan struct{}            // closed unless frozen; guarded by mu
	late        time.Duration            // guarded by mu
	lateReplies map[string]time.Duration // by host; guarded by mu
	refusal     Refusal                  // guarded by mu
	limit       int                      // bytes of output of a subscriber; guarded by mu
	losing      bool                     // the next script's reply is lost; guarded by mu
	lost        int                      // replies lost; guarded by mu
	refused     int                      // commands refused; guarded by mu
	skew        time.Duration            // of the clock; guarded by mu
	wg          sync.WaitGroup
	listener    *network.Listener // guarded by mu
	ids         int               // guarded by mu
}

// subscription is one client's interest in a pattern.
type subscription struct {
	pattern string
	client  *client
}

// outputLimit is Redis's default of client-output-buffer-limit pubsub.
const outputLimit = 32 << 20

// New returns a server that does not run yet.
func New(n *network.Network, rng *rand.Rand, cfg Config) *Server {
	s := &Server{
		cfg: cfg, net: n, rng: rng, limit: outputLimit, lateReplies: map[string]time.Duration{},
		turn: make(chan struct{}, 1), thawed: make(chan struct{}),
	}
	close(s.thawed)
	return s
}

// Start makes the server reachable at host, with a dataset of its own; nil is an empty one.
func (s *Server) Start(host string, data *Dataset) {
	l := s.net.Listen(host)
	s.mu.Lock()
	defer s.mu.Unlock()
	if data == nil {
		data = newDataset()
	}
	s.host, s.data, s.scripts, s.running, s.listener = host, data, newScripts(), true, l
	s.starts++
	s.channels, s.patterns, s.clients = map[string][]*client{}, nil, nil
	s.wg.Go(func() { s.accept(l) })
}

// Stop ends the server: all connections break. It returns the dataset.
func (s *Server) Stop() *Dataset {
	s.mu.Lock()
	s.running = false
	data, all, host := s.data, slices.Clone(s.clients), s.host
	s.mu.Unlock()
	s.Thaw()
	s.net.Down(host)
	for _, c := range all {
		s.drop(c)
	}
	return data
}

// Close ends the server for good and waits for its goroutines.
func (s *Server) Close() {
	s.Thaw()
	s.Stop()
	s.wg.Wait()
}

func (s *Server) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		c := &client{server: s, conn: nc.(*network.Conn), signal: make(chan struct{}, 1), gone: make(chan struct{}), protocol: 2}
		s.mu.Lock()
		s.ids++
		c.id = s.ids
		s.clients = append(s.clients, c)
		s.mu.Unlock()
		s.wg.Go(c.read)
		s.wg.Go(c.write)
	}
}

// drop ends a client's connection, if that has not been done yet.
func (s *Server) drop(c *client) {
	s.mu.Lock()
	if c.over {
		s.mu.Unlock()
		return
	}
	c.over = true
	close(c.gone)
	subscribed := len(c.channels)+len(c.patterns) > 0 || !c.forgotten.IsZero()
	since, waiting := c.since, len(c.output) > 0
	if !c.sending.IsZero() {
		since, waiting = c.sending, true
	}
	if !c.forgotten.IsZero() { // what it subscribed to after that came without its markers
		since, waiting = c.forgotten, true
	}
	s.unsubscribeAll(c)
	s.clients = slices.DeleteFunc(s.clients, func(other *client) bool { return other == c })
	s.mu.Unlock()
	c.conn.Abort()
	if subscribed && s.cfg.Cut != nil {
		if lost, ok := c.conn.LostSince(); ok && (!waiting || lost.Before(since)) {
			since, waiting = lost, true
		}
		if !waiting {
			since = time.Now()
		}
		s.cfg.Cut(c.conn.Peer(), since)
	}
}

func (s *Server) log(format string, args ...any) {
	if s.cfg.Log != nil {
		s.cfg.Log(format, args...)
	}
}

// Freeze makes the server stand still until Thaw.
func (s *Server) Freeze() {
	s.turn <- struct{}{} // not in the middle of a command
	defer func() { <-s.turn }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.thawed = make(chan struct{})
}

// Thaw ends Freeze.
func (s *Server) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.thawed:
	default:
		close(s.thawed)
	}
}

// Late makes all commands of a connection that arrive together take d longer.
func (s *Server) Late(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = d
}

// LateMessages makes what the server sends over the present connections of a host that have subscriptions arrive later
// by d. It returns how many connections there were.
func (s *Server) LateMessages(host string, d time.Duration) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		if c.conn.Peer() == host && c.subscriptions() > 0 {
			c.conn.Delay(d)
			n++
		}
	}
	return n
}

// LateReplies makes replies to commands on data arrive at a host later by d. So what it reads may be out of date when it
// comes, although its subscriptions are quick.
func (s *Server) LateReplies(host string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lateReplies[host] = d
}

// Refuse makes the server refuse what a real one refuses in that state, until it is called with Nothing. It returns how
// many commands were refused since the last call.
func (s *Server) Refuse(r Refusal) (refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = r
	refused, s.refused = s.refused, 0
	return refused
}

// Snapshot returns a copy of the dataset.
func (s *Server) Snapshot() *Dataset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.copy()
}

// FlushAll empties the dataset.
func (s *Server) FlushAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = newDataset()
}

// KillClients closes connections, those with subscriptions or the others, as CLIENT KILL TYPE does. It returns how many.
func (s *Server) KillClients(subscribers bool) int {
	return s.killWhere(func(c *client) bool { return (len(c.channels)+len(c.patterns) > 0) == subscribers })
}

func (s *Server) killWhere(hit func(*client) bool) (n int) {
	s.mu.Lock()
	var victims []*client
	for _, c := range s.clients {
		if hit(c) {
			victims = append(victims, c)
		}
	}
	s.mu.Unlock()
	for _, c := range victims {
		s.drop(c)
	}
	return len(victims)
}

// DropSubscriptions forgets the subscriptions of a host's connections without a word. It returns how many connections had
// some.
func (s *Server) DropSubscriptions(host string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		if c.conn.Peer() == host && len(c.channels)+len(c.patterns) > 0 {
			s.unsubscribeAll(c)
			c.forgotten = time.Now()
			n++
		}
	}
	return n
}

// LimitOutput sets how many bytes may wait for a subscriber before it is disconnected; 0: Redis's default.
func (s *Server) LimitOutput(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes == 0 {
		bytes = outputLimit
	}
	s.limit = bytes
}

// LoseReply makes the next script be carried out without an answer. It returns how many replies were lost so far.
func (s *Server) LoseReply(lose bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losing = lose
	return s.lost
}

// Skew moves the clock that TIME tells.
func (s *Server) Skew(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew += d
}

// Subscribers returns how many connections of a host have subscriptions; of all hosts if it is "".
func (s *Server) Subscribers(host string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		if (host == "" || c.conn.Peer() == host) && len(c.channels)+len(c.patterns) > 0 {
			n++
		}
	}
	return n
}

// List returns a list, newest first, and all that was ever pushed into it on this branch of the dataset's life, oldest
// first.
func (s *Server) List(key string) (list, log []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.list(key)
}
