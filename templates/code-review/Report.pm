package Report;

# What one check found: gathered, bounded, sorted, written as JSON lines, and told as stage outputs.
#
# Leaves NAME.jsonl (one finding a line) and NAME.summary.json in EPARCH_ARTIFACTS; appends count, high and worst to
# EPARCH_OUTPUT.

use strict;
use warnings;
use Json;
use Rules;

# Past so many findings of one rule nobody reads on: the gravest are kept, the rest are counted.
use constant MAX_PER_RULE => 200;
# Findings of one rule that are held in memory to choose from.
use constant MAX_HELD => 20_000;

sub begin {
    my ($class, $name) = @_;
    return bless {name => $name, findings => [], seen => {}, dropped => {}, tools => {}, notes => []}, $class;
}

# Takes rule, path, line, column, message; evidence is the line in question with any secret taken out (it makes the
# fingerprint survive edits above it, and is not written); severity only where it differs from the rule's.
sub finding {
    my ($self, %found) = @_;
    my $rule = $Rules::RULE{$found{rule}} or die "no rule called $found{rule}";
    $found{severity} //= $rule->{severity};
    $found{line}     //= 1;
    $found{column}   //= 1;
    my $evidence = defined $found{evidence} ? $found{evidence} : '';
    $evidence =~ s/\s+/ /g;
    delete $found{evidence};
    my $key = join "\0", $found{rule}, $found{path}, $evidence;
    my $nth = $self->{seen}{$key}++;
    $found{fingerprint} = fnv1a64("$key\0$nth");
    if (++$self->{per_rule}{$found{rule}} > MAX_HELD) { $self->{dropped}{$found{rule}}++; return }
    push @{$self->{findings}}, \%found;
    return;
}

# Records which outside program took part, or why one did not.
sub tool { my ($self, $name, $said) = @_; $self->{tools}{$name} = $said; return }

# Records a sentence for the reader of the report.
sub note { my ($self, $sentence) = @_; push @{$self->{notes}}, $sentence; return }

sub finish {
    my ($self, $checkout) = @_;
    my $in_place = sub {
        $_[0]{path} cmp $_[1]{path} || $_[0]{line} <=> $_[1]{line} || $_[0]{column} <=> $_[1]{column} || $_[0]{rule} cmp $_[1]{rule}
    };
    my (%kept, @sorted);
    for my $found (sort { $Rules::RANK{$a->{severity}} <=> $Rules::RANK{$b->{severity}} || $in_place->($a, $b) } @{$self->{findings}}) {
        if (++$kept{$found->{rule}} <= MAX_PER_RULE) { push @sorted, $found }
        else                                         { $self->{dropped}{$found->{rule}}++ }
    }
    @sorted = sort { $in_place->($a, $b) } @sorted;

    my %by_severity = map { $_ => 0 } @Rules::SEVERITIES;
    my $lines = '';
    for my $found (@sorted) {
        $by_severity{$found->{severity}}++;
        $lines .= Json::encode({
            %$found,
            name => $Rules::RULE{$found->{rule}}{name},
            uri  => uri($found->{path}),
            map { $_ => Json::num($found->{$_}) } qw(line column),
        }) . "\n";
    }
    my ($worst) = grep { $by_severity{$_} } @Rules::SEVERITIES;
    $worst = 'none' if !defined $worst;

    artifact("$self->{name}.jsonl", $lines);
    artifact("$self->{name}.summary.json", Json::encode({
        check   => $self->{name},
        count   => Json::num(scalar @sorted),
        worst   => $worst,
        read    => numbers($checkout->{read}),
        skipped => numbers($checkout->{skipped}),
        dropped => numbers($self->{dropped}),
        tools   => $self->{tools},
        notes   => $self->{notes},
    }) . "\n");
    output({count => Json::num(scalar @sorted), high => Json::num($by_severity{high}), worst => $worst});
    say_line("$self->{name}: " . counted(\%by_severity));
    return;
}

# "2 high, 1 note", or "nothing found".
sub counted {
    my ($by_severity) = @_;
    my @parts = map { "$by_severity->{$_} $_" } grep { $by_severity->{$_} } @Rules::SEVERITIES;
    return @parts ? join(', ', @parts) : 'nothing found';
}

sub numbers { my ($map) = @_; return {map { $_ => Json::num($map->{$_}) } keys %{$map || {}}} }

# Writes a file into the stage's artifact folder.
sub artifact {
    my ($name, $content) = @_;
    my $folder = defined $ENV{EPARCH_ARTIFACTS} ? $ENV{EPARCH_ARTIFACTS} : 'artifacts';
    mkdir $folder;
    open my $file, '>:raw', "$folder/$name" or die "code-review: cannot write the artifact $name: $!\n";
    print {$file} $content;
    close $file or die "code-review: cannot write the artifact $name: $!\n";
    return;
}

# Appends stage outputs as one JSON line, so that numbers stay numbers.
sub output {
    my ($values) = @_;
    my $path = $ENV{EPARCH_OUTPUT};
    return if !defined $path || $path eq '';
    open my $file, '>>:raw', $path or die "code-review: cannot append to EPARCH_OUTPUT: $!\n";
    print {$file} Json::encode($values), "\n";
    close $file or die "code-review: cannot append to EPARCH_OUTPUT: $!\n";
    return;
}

# A line for people, without the control characters that a hostile file name could bring to a terminal.
sub say_line {
    my $line = plain($_[0]);
    print "$line\n";
    return;
}

# Valid UTF-8 on one line: control characters, direction marks and stray bytes are written out.
sub plain {
    my $text = Json::printable($_[0]);
    $text =~ s/([\x00-\x1f\x7f])/$1 eq "\n" ? '\\n' : $1 eq "\t" ? '\\t' : sprintf '\\x%02x', ord $1/ge;
    $text =~ s/(\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]|\xc2[\x80-\x9f])/join '', map { sprintf '\\x%02x', ord } split m{}, $1/ge;
    return $text;
}

# Text for a Markdown paragraph or cell: nothing in it is markup.
sub prose {
    my $text = plain($_[0]);
    $text =~ s/([\\`*_\[\]<>|#&!~])/\\$1/g;
    return $text;
}

# Text as a Markdown code span, which holds backticks when its fence is longer; in a table a pipe needs its escape.
sub code {
    my ($text, $in_table) = (plain($_[0]), $_[1]);
    $text =~ s/\|/\\|/g if $in_table;
    my $fence = '`';
    $fence .= '`' while index($text, $fence) >= 0;
    return $fence eq '`' ? "`$text`" : "$fence $text $fence";
}

# A path as a relative URI reference: everything but unreserved characters and the slash is escaped byte by byte.
sub uri {
    my ($path) = @_;
    $path =~ s{([^A-Za-z0-9._~/-])}{sprintf '%%%02X', ord $1}ge;
    return $path;
}

# FNV-1a, 64 bits. Only an identity for a finding, never of a secret: see evidence above.
sub fnv1a64 {
    my ($bytes) = @_;
    use integer;
    my $hash = -3750763034362895579;    # 0xcbf29ce484222325 as a signed number
    for my $byte (unpack 'C*', $bytes) {
        $hash ^= $byte;
        $hash *= 1099511628211;
    }
    return sprintf '%016x', $hash;
}

1;
