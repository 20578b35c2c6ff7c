{# One pass over a layer on a GPU: what fused_layer.cpp does, a warp for each row of channels.

   Code without vectors runs on the host, as there, and its numbers go with the kernel. Spikes are read where the
   recording has them, in the step in which they were sent; a delay is an earlier step of it.
#}
{# USES_VARIABLES { t_in_timesteps } #}
{% extends 'common_group.cpp' %}
{% from 'fused_cuda_arrays.cu' import on_device, of_image %}
{% block maincode %}
{% macro _array(name) %}{{get_array_name(variables[name])}}{% endmacro %}
{% macro _code(block) %}{{ vector_code[block] if vector_code[block] is string else vector_code[block]|join('\n') }}{% endmacro %}
{% macro _each_channel() %}
#pragma unroll
        for (int _r = 0; _r < {{blocks}}; _r++) {
            const int _c = _at.tile * {{32 * blocks}} + _r * 32 + _at.lane;
            const int _idx = _at.pixel * {{channels}} + _c;
            const int _vectorisation_idx = _idx;
            {{caller()|autoindent}}
        }
{% endmacro %}
{# What a weight becomes for a spike of that source. #}
{% macro _scale(input) %}
{% if input.amplitude == 'one' %}shared::Scaled<_real>{_amplitude_{{input.name}}}
{%- elif input.amplitude == 'each' %}shared::ScaledEach<_real>{ {{_array(input.name + '_amplitude')}} }
{%- else %}shared::Unscaled()
{%- endif %}
{% endmacro %}
{% set arrays = device_arrays(variables) %}
    typedef {{c_data_type(real)}} _real;
    const int _vectorisation_idx = -1;
    const int _step = {{t_in_timesteps}};
{{ on_device(arrays) }}
    {% for input in inputs if input.amplitude == 'one' %}
    const _real _amplitude_{{input.name}} = {{_array(input.name + '_amplitude')}}[0];
    {% endfor %}
    {# Scalar code of a later block may repeat a name of an earlier one: each has a scope within the one before. #}
    { {{scalar_code['rest']|autoindent}}
    { {{scalar_code['update']|autoindent}}
    { {{scalar_code['threshold']|autoindent}}
    { {{scalar_code['reset']|autoindent}}
    shared::each_row({{pixels}}, {{tiles}}, [=] __device__ (shared::Row _at) {
{{ of_image(arrays) }}
        const std::size_t _recorded = (std::size_t)_step * {{pixels}} + _at.pixel;
        (void)_recorded;
        {% if inputs %}
        _real _sums[{{blocks}}];
        {% endif %}
{% call _each_channel() %}
if (_c < {{channels}}) {
if (_step == 0) {
{{ _code('rest') }}
}
{
{{ _code('update') }}
}
}
{% endcall %}
        {# Inputs one behind the other that add to the same variable keep it in registers. #}
        {% for input in inputs %}
        {% if loop.first or loop.previtem.receiver != input.receiver %}
{% call _each_channel() %}
if (_c < {{channels}}) _sums[_r] = {{_array(input.receiver)}}[_idx];
{% endcall %}
        {% endif %}
        {{ 'if (_step >= ' ~ input.delay ~ ') ' if input.delay }}{
            const int _from = {{_array(input.name + '_first')}}[_at.pixel], _to = {{_array(input.name + '_first')}}[_at.pixel + 1];
            const shared::Stretches _seen = {
                {{_array(input.name + '_begin')}} + _from, {{_array(input.name + '_end')}} + _from,
                {{_array(input.name + '_shift')}} + _from, _to - _from};
            const uint8_t* _spikes = (const uint8_t*){{_array(input.name + '_bits')}} + {{input.start}} + (std::size_t)(_step - {{input.delay}}) * {{input.pixels * input.row_bytes}};
            shared::gather_{{ 'row' if input.whole else 'parts' }}<_real, {{blocks}}, {{input.channels}}, {{input.row_bytes}}, {{input.row}}, {{input.stride}}{{ '' if input.whole else ', ' ~ input.per_row }}>(
                _sums, _at, {{_array(input.name + '_kernel')}}, _at.tile * {{32 * blocks}} + _at.lane - {{input.offset}}, _seen, _spikes,
                {{ _scale(input) }});
        }
        {% if loop.last or loop.nextitem.receiver != input.receiver %}
{% call _each_channel() %}
if (_c < {{channels}}) {{_array(input.receiver)}}[_idx] = _sums[_r];
{% endcall %}
        {% endif %}
        {% endfor %}
{% call _each_channel() %}
{{ 'bool _fired = false;' if spiking }}
if (_c < {{channels}}) {
{
{{ _code('threshold') }}
{{ '_fired = _cond;' if spiking }}
}
{% for record in records if not record.at_end %}
{{_array(record.name)}}[_recorded * {{channels}} + _c] = {{_array(membrane)}}[_idx];
{% endfor %}
{% if written %}
if (_fired) {
{{ _code('reset') }}
}
{% endif %}
{% for record in records if record.at_end %}
{{_array(record.name)}}[_recorded * {{channels}} + _c] = {{_array(membrane)}}[_idx];
{% endfor %}
}
{{ 'shared::write_bits<' ~ row_bytes ~ '>((uint8_t*)' ~ _array('_bits') ~ ' + _recorded * ' ~ row_bytes ~ ', _at.tile * ' ~ blocks ~ ' + _r, _at.lane, _fired);' if spiking }}
{% endcall %}
    });
    } } } }
{% endblock %}
