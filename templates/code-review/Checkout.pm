package Checkout;

# A git checkout under review: what is tracked, and the content of tracked files as they lie in the working tree.
#
# The checkout is not trusted. Its configuration may name programs (hooks, filters, a file-system monitor, text
# converters, a signature checker) that git would start; each is switched off here. Links are not followed, nothing is
# fetched, nothing is written, and every reading has an end.

use strict;
use warnings;
use Fcntl qw(O_RDONLY O_NOFOLLOW O_NONBLOCK S_ISREG S_ISLNK);

# Tracked files that are looked at; the Linux kernel has some 90,000.
use constant MAX_FILES => 200_000;
# One file's content: source files beyond this are generated, and are counted as skipped.
use constant MAX_FILE_BYTES => 1 << 20;
# All content that one check reads: at some 20 MiB a second this keeps a check well under its ten minutes.
use constant MAX_TOTAL_BYTES => 2 << 30;
# How much of a file decides whether it is text; git looks at as much.
use constant SNIFF_BYTES => 8_000;

# Opens the checkout that the stage was given in REPO; ends the process with a sentence when there is none.
sub from_env {
    my ($class) = @_;
    my $root = $ENV{REPO};
    $root = '.' if !defined $root || $root eq '';
    $root =~ s{(?<=.)/+\z}{};
    my $self = bless {root => $root, read => {files => 0, bytes => 0}, skipped => {}, folders => {}}, $class;
    $self->{here} = same_folder($root, '.');
    $self->refuse_what_is_no_checkout;
    $self->isolate_git;
    $self->{index} = $self->read_index;
    return $self;
}

sub fail { my ($sentence) = @_; print STDERR "code-review: $sentence\n"; exit 1 }

sub same_folder {
    my @one = stat $_[0];
    my @two = stat $_[1];
    return @one && @two && $one[0] == $two[0] && $one[1] == $two[1];
}

sub refuse_what_is_no_checkout {
    my ($self) = @_;
    my $root = $self->{root};
    fail("cannot read '$root': $!; the input `repo` names the folder of a git checkout") if !-e $root;
    fail("'$root' is not a folder; the input `repo` names the folder of a git checkout") if !-d _;
    if (!-e "$root/.git") {
        fail("'$root' is a bare git repository; a review needs a checkout with files: clone it first")
            if -f "$root/HEAD" && -d "$root/objects" && -d "$root/refs";
        fail("'$root' is not the top folder of a git checkout: it holds no .git");
    }
    return if -d "$root/.git";

    # A linked worktree or a submodule: .git is a file that names the real one.
    my $pointer = -f "$root/.git" ? slurp("$root/.git", 4096) : undef;
    my ($git_dir) = defined $pointer ? $pointer =~ /\Agitdir: (.+?)\n?\z/s : ();
    fail("'$root/.git' is neither a folder nor a pointer to one") if !defined $git_dir;
    my $place = $git_dir =~ m{\A/} ? $git_dir : "$root/$git_dir";
    fail("the git data of '$root' is at '$git_dir', which this agent cannot read; review a plain clone, or add that path to the stage's paths.read")
        if !-d $place;
    return;
}

sub isolate_git {
    my ($self) = @_;
    delete @ENV{grep { /\AGIT_/ } keys %ENV};
    my %fixed = (
        LC_ALL              => 'C',
        GIT_CONFIG_NOSYSTEM => 1,
        GIT_CONFIG_GLOBAL   => '/dev/null',
        GIT_ATTR_NOSYSTEM   => 1,
        GIT_OPTIONAL_LOCKS  => 0,
        GIT_NO_LAZY_FETCH   => 1,
        GIT_ALLOW_PROTOCOL  => '',     # outranks what the checkout's configuration allows, and older gits know it
        GIT_NO_REPLACE_OBJECTS => 1,   # a commit is what its id says
        GIT_TERMINAL_PROMPT => 0,
        GIT_PAGER           => 'cat',
    );
    @ENV{keys %fixed} = values %fixed;
    configure_git(
        ['safe.directory', '*'],           # another user owns the checkout; what that warning guards is switched off below
        ['core.fsmonitor', 'false'],
        ['core.hooksPath', '/dev/null'],
        ['core.attributesFile', '/dev/null'],
        ['core.quotePath', 'true'],
        ['core.checkStat', 'minimal'],     # inode numbers and change times differ inside the cage
        ['core.trustctime', 'false'],
        ['core.pager', 'cat'],
        ['log.showSignature', 'false'],
        ['protocol.allow', 'never'],
        ['diff.renameLimit', '2000'],
    );
    my @filters = $self->lines('config', '--name-only', '-z', '--get-regexp', '^filter\..*\.(clean|smudge|process)$');
    configure_git(map { my ($name) = /\A(.*)\.[^.]+\z/s; (["$name.clean", ''], ["$name.process", ''], ["$name.required", 'false']) } @filters);
    my $bare = $self->line('rev-parse', '--is-bare-repository');
    fail("git cannot open '$self->{root}': " . $self->{git_said}) if !defined $bare;
    fail("'$self->{root}' is configured as a bare git repository; a review needs a checkout with files") if $bare eq 'true';
    return;
}

# Command-scope configuration: the only scope in which git accepts safe.directory besides the user's own files.
sub configure_git {
    for my $pair (@_) {
        my $at = $ENV{GIT_CONFIG_COUNT} || 0;
        ($ENV{"GIT_CONFIG_KEY_$at"}, $ENV{"GIT_CONFIG_VALUE_$at"}) = @$pair;
        $ENV{GIT_CONFIG_COUNT} = $at + 1;
    }
    return;
}

# ── git ────────────────────────────────────────────────────────────────────────────────────────────────────────────

# Opens git's output for reading; its complaints are kept for `git_said`.
sub stream {
    my ($self, @arguments) = @_;
    my $complaints = ($ENV{TMPDIR} || '/tmp') . "/code-review-git.$$";
    open my $saved, '>&', \*STDERR or die "cannot keep the error stream: $!\n";
    open STDERR, '>', $complaints or open STDERR, '>', '/dev/null' or die "cannot redirect the error stream: $!\n";
    my $started = open my $output, '-|:raw', 'git', '-C', $self->{root}, @arguments;
    open STDERR, '>&', $saved or die "cannot restore the error stream: $!\n";
    fail("cannot start git: $!") if !$started;
    $self->{complaints} = $complaints;
    return $output;
}

# Ends a stream; true when git succeeded.
sub ended {
    my ($self, $output) = @_;
    my $well = close $output;
    my $said = slurp($self->{complaints}, 4096);
    unlink $self->{complaints};
    $said = '' if !defined $said;
    $said =~ s/\s+/ /g;
    $self->{git_said} = $said eq '' ? 'it gave no reason' : $said;
    return $well;
}

# All NUL-terminated records of a git command; empty when it fails.
sub lines {
    my ($self, @arguments) = @_;
    my $output = $self->stream(@arguments);
    local $/ = "\0";
    my @records = <$output>;
    chomp @records;
    return $self->ended($output) ? @records : ();
}

# The one line of a git command, undef when it fails.
sub line {
    my ($self, @arguments) = @_;
    my $output = $self->stream(@arguments);
    my $line = do { local $/; <$output> };
    return undef if !$self->ended($output) || !defined $line;
    $line =~ s/\n\z//;
    return $line;
}

# The commit that is checked out, undef before the first one.
sub head { my ($self) = @_; return $self->line('rev-parse', '-q', '--verify', 'HEAD^{commit}') }

sub read_index {
    my ($self) = @_;
    my $output = $self->stream('ls-files', '-s', '-z');
    my (@entries, %seen);
    local $/ = "\0";
    while (my $record = <$output>) {
        chomp $record;
        my ($mode, $oid, $stage, $path) = $record =~ /\A([0-7]{6}) ([0-9a-f]+) ([0-3])\t(.+)\z/s or next;
        next if $seen{$path}++;    # an unresolved merge lists a path once for each side
        if (@entries >= MAX_FILES) { $self->{skipped}{'past the limit of files'}++; next }
        push @entries, {mode => $mode, oid => $oid, path => $path};
    }
    $self->ended($output) or fail("git cannot list the files of '$self->{root}': $self->{git_said}");
    return \@entries;
}

# ── files ──────────────────────────────────────────────────────────────────────────────────────────────────────────

sub entries { return @{$_[0]{index}} }

# Calls `visit` with entry and a reference to the content for each tracked text file that `wanted` wants.
sub each_text {
    my ($self, $visit, $wanted) = @_;
    for my $entry ($self->entries) {
        next if $entry->{mode} !~ /\A100/;
        next if $wanted && !$wanted->($entry);
        my $content = $self->content($entry);
        $visit->($entry, \$content) if defined $content;
    }
    return;
}

# A tracked file's content in the working tree; undef, and counted with its reason, when it is not read.
sub content {
    my ($self, $entry) = @_;
    my $path = $entry->{path};
    my $skip = sub { $self->{skipped}{$_[0]}++; return undef };
    return $skip->('hidden by the agent\'s own files') if $self->{here} && $path =~ m{\A\.agent/};
    return $skip->('not in the working tree') if !$self->plain_folders($path);
    my $full = "$self->{root}/$path";
    my @stat = lstat $full or return $skip->('not in the working tree');
    return $skip->('not a regular file in the working tree') if !S_ISREG($stat[2]);
    return $skip->('larger than 1 MiB') if $stat[7] > MAX_FILE_BYTES;
    return $skip->('past the limit of bytes') if $self->{read}{bytes} + $stat[7] > MAX_TOTAL_BYTES;
    my $content = slurp($full, MAX_FILE_BYTES);
    return $skip->('unreadable') if !defined $content;
    return $skip->('binary') if index(substr($content, 0, SNIFF_BYTES), "\0") >= 0;
    $self->{read}{files}++;
    $self->{read}{bytes} += length $content;
    return $content;
}

# Whether every folder above a path is a folder, not a link that leads elsewhere.
sub plain_folders {
    my ($self, $path) = @_;
    my ($folder) = $path =~ m{\A(.+)/[^/]+\z}s or return 1;
    return $self->{folders}{$folder} //= do {
        my @stat = lstat "$self->{root}/$folder";
        @stat && -d _ && !S_ISLNK($stat[2]) && $self->plain_folders($folder) ? 1 : 0;
    };
}

# At most `most` bytes of a regular file, undef when it cannot be read. Never waits at a pipe, never follows a link.
sub slurp {
    my ($path, $most) = @_;
    sysopen my $file, $path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK or return undef;
    binmode $file;
    my $content = '';
    while ((my $room = $most - length $content) > 0) {
        my $got = sysread $file, $content, $room, length $content;
        return undef if !defined $got;
        last if $got == 0;
    }
    return $content;
}

# ── text ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# Line and column (both from 1, columns in characters) of a byte offset. Remembers the last place, so that asking in
# rising order costs one pass.
package Checkout::Places;

sub of { my ($class, $content) = @_; return bless {content => $content, at => 0, line => 1}, $class }

sub find {
    my ($self, $offset) = @_;
    ($self->{at}, $self->{line}) = (0, 1) if $offset < $self->{at};
    my $content = $self->{content};
    $self->{line} += (substr($$content, $self->{at}, $offset - $self->{at}) =~ tr/\n//);
    $self->{at} = $offset;
    my $start = $offset == 0 ? 0 : rindex($$content, "\n", $offset - 1) + 1;
    my $before = substr $$content, $start, $offset - $start;
    utf8::decode($before);
    return ($self->{line}, length($before) + 1);
}

# The line around an offset, without its end, and where it starts.
sub line_at {
    my ($self, $offset) = @_;
    my $content = $self->{content};
    my $start = $offset == 0 ? 0 : rindex($$content, "\n", $offset - 1) + 1;
    my $end = index $$content, "\n", $offset;
    $end = length $$content if $end < 0;
    my $line = substr $$content, $start, $end - $start;
    $line =~ s/\r\z//;
    return ($line, $start, $end);
}

package Checkout::Kinds;

# What a path says about a file. Shared by the checks, so that they agree.

sub is_test { return $_[0] =~ m{(?:\A|/)(?:tests?|specs?|__tests__|testdata|test-data|fixtures?|testing|e2e)/|(?:\A|/)(?:test_[^/]*|conftest)\.py\z|(?:[._-]|\b)(?:tests?|spec)\.(?!(?:ya?ml|json|toml|md)\z)[A-Za-z0-9]+\z|Tests?\.(?:java|kt|cs|swift|php)\z}i }
sub is_prose { return $_[0] =~ m{\.(?:md|mdx|markdown|rst|adoc|asciidoc|txt|tex|html?|org|pod|[1-9])\z|(?:\A|/)(?:README|CHANGELOG|LICENSE|COPYING|NOTICE|AUTHORS)[^/]*\z}i }
sub is_vendored { return $_[0] =~ m{(?:\A|/)(?:vendor|third[_-]party|node_modules|bower_components|dist)/|\.min\.(?:js|css)\z}i }
sub is_shell { return $_[0] =~ m{\.(?:sh|bash|dash|ksh|zsh|bats)\z}i }
sub is_ci { return $_[0] =~ m{\A(?:\.github/(?:workflows|actions)/.+|\.gitlab-ci\.ya?ml|\.circleci/.+|\.buildkite/.+|\.travis\.ya?ml|\.drone\.ya?ml|azure-pipelines[^/]*\.ya?ml|bitbucket-pipelines\.ya?ml|appveyor\.ya?ml|\.woodpecker[./].+|\.ci/.+)\z|(?:\A|/)Jenkinsfile[^/]*\z}i }
sub is_build { return $_[0] =~ m{(?:\A|/)(?:(?:GNU)?[Mm]akefile|Dockerfile|Containerfile)[^/]*\z|\.(?:mk|dockerfile)\z} }

1;
