package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Nginx is an nginx on a loopback address of its own.
type Nginx struct {
	Addr string // host:port

	process *Process
}

// temporaryFiles are the directives that keep nginx out of the folders of an nginx that the machine may run.
const temporaryFiles = `client_body_temp_path @dir/nginx-body;
proxy_temp_path @dir/nginx-proxy;
fastcgi_temp_path @dir/nginx-fastcgi;
uwsgi_temp_path @dir/nginx-uwsgi;
scgi_temp_path @dir/nginx-scgi;
`

// StartNginx starts nginx with a configuration file made from a text. In the text these words are replaced:
//
//	@listen     the address, for the directive listen
//	@temporary  the directives of the block http that keep temporary files in the group's folder
//
// The directives pid, user and daemon must not be in the text: they are set on the command line. StartNginx does not
// wait: how nginx shows that it is ready depends on the configuration.
func StartNginx(g *Group, config string) (*Nginx, error) {
	path, err := Find("nginx")
	if err != nil {
		return nil, err
	}
	addr, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	dir, file := g.Dir(), filepath.Join(g.Dir(), "nginx.conf")
	temporary := strings.ReplaceAll(temporaryFiles, "@dir", dir)
	config = strings.NewReplacer("@listen", addr, "@temporary", temporary).Replace(config)
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	global := fmt.Sprintf("daemon off; pid %s/nginx.pid;", dir)
	if os.Getuid() == 0 {
		global += " user root;" // workers of another user could not read the folder
	}
	p, err := g.Start(Command{
		Name: "nginx", Path: path, Args: []string{"-p", dir, "-c", file, "-e", "stderr", "-g", global},
		Gently: true, // an nginx that is killed leaves its workers behind
	})
	if err != nil {
		return nil, err
	}
	return &Nginx{Addr: addr, process: p}, nil
}

// Ended returns nil while the main process runs, and afterwards the error of Process.Ended.
func (n *Nginx) Ended() error { return n.process.Ended() }

// Reload has nginx read its configuration file again (SIGHUP). New workers take new connections; the old ones end as
// worker_shutdown_timeout says.
func (n *Nginx) Reload() error { return n.process.cmd.Process.Signal(syscall.SIGHUP) }
