# time and memory against decoded tokens, measured (raas bench growth)
# Redraw with `gnuplot growth.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'growth.tsv'

# One pass over the rows: the policies in their order, budgets, ranges, the title.
policies = ''; model = ''; where = ''; prompt = 0; repeats = 0; most = 0
name_of(p, b) = strlen(b) ? p.' '.b : p
key_of(p, b) = p.'@'.b
note_policy(p, b) = style_has(policies, key_of(p, b)) ? 0 : (policies = policies.' '.key_of(p, b), 0)
note_text(m, w, p, r) = (model = m, where = w, prompt = p, repeats = r, 0)
note_tokens(t) = (most = t > most ? t : most, 0)
stats data using (note_policy(strcol('policy'), strcol('budget')) + note_tokens(column('tokens')) \
    + note_text(strcol('model'), strcol('backend'), column('prompt'), column('repeats'))) nooutput
N = words(policies)
key_at(i) = word(policies, i)
policy(i) = substr(key_at(i), 1, strstrt(key_at(i), '@') - 1)
asked(i) = substr(key_at(i), strstrt(key_at(i), '@') + 1, strlen(key_at(i)))
title_of(i) = name_of(policy(i), asked(i))
colour(i) = policy(i) eq 'full' ? style_full : style_colour(policy(i), i)
marker(i) = style_marker(policy(i), i)
of(i, c) = key_of(strcol('policy'), strcol('budget')) eq key_at(i) ? column(c) : NaN
mib(i) = of(i, 'kv_bytes') / 1048576.0

width = 1000
entry_px = 150
columns = style_columns(N, entry_px, width)
legend_rows = style_rows(N, columns)
height = 424 + 24 * legend_rows
legend_x(i) = 0.5 + ((i - 1) % columns - columns / 2.0) * entry_px / width + 0.015
legend_y(i) = (24.0 * (legend_rows - (i - 1) / columns) - 6) / height
bottom = (88 + 24.0 * legend_rows) / height
top = 1 - 44.0 / height

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'growth.'.format
    set multiplot layout 1, 2 title model.' on '.where.sprintf('    prompt of %.0f tokens, end token ignored', prompt) font ',13'
    load 'style.gp'
    unset key
    set tmargin at screen top; set bmargin at screen bottom
    set xrange [0 : 1.03 * most]
    set yrange [0 : *]
    set xtics nomirror auto
    set ytics nomirror auto
    set xlabel 'decoded tokens'

    set lmargin at screen 0.075; set rmargin at screen 0.490
    set ylabel sprintf('seconds until then (median and range of %.0f)', repeats)
    plot for [i = 1:N] data using 'tokens':(of(i, 'seconds')):'lo':'hi' with yerrorbars lw 1.2 pt 0 lc rgb '#90'.substr(colour(i), 2, 7), \
        for [i = 1:N] data using 'tokens':(of(i, 'seconds')) with linespoints lw 1.6 pt marker(i) ps 0.7 lc rgb colour(i)

    set lmargin at screen 0.575; set rmargin at screen 0.99
    set ylabel 'KV cache, measured (MiB)'
    do for [i = 1:N] {
        set label i title_of(i) at screen legend_x(i), legend_y(i) left offset 1.2, -0.2 point pt marker(i) ps 0.9 lc rgb colour(i)
    }
    plot for [i = 1:N] data using 'tokens':(mib(i)) with linespoints lw 1.6 pt marker(i) ps 0.7 lc rgb colour(i)

    unset multiplot
    unset label
    unset output
}
